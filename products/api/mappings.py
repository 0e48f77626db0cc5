"""`/api/v1/imports/mapping/`: where the columns of a file would go, before it is sent."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.fields import read_fields
from common.openapi import problems
from products.api.serializers import FileHeaders, MappingDocument
from products.importing import mappings


@extend_schema(tags=["imports"])
class MappingViewSet(IdempotentPosts, ViewSet):
    required_scopes = {"propose": {Scope.IMPORT}}

    @extend_schema(
        operation_id="imports_mapping",
        summary="Ask where the columns of a file would go",
        description=(
            "As an import without a mapping does it: as the last file with the same headers was mapped, "
            "else by their names. A POST, since a thousand headers fit in no address; nothing is written."
        ),
        request=FileHeaders,
        responses={200: MappingDocument, **problems()},
    )
    def propose(self, request: Request) -> Response:
        headers = read_fields(FileHeaders, request)["headers"]
        return Response(asdict(mappings.propose(headers)))
