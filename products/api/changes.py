"""`/api/v1/imports/{id}/changes/`: what an import would change or has changed, product by product."""

from __future__ import annotations

from typing import Any, cast

from django.db import models
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Scope
from common.openapi import problems
from common.pagination import KeyPages
from common.parameters import choice
from products.api.imports import ID, visible_import
from products.changes import Action, ChangeFilter, changes_of
from products.models import ProductChange


class Field(models.TextChoices):
    """What may change."""

    NAME = "name"
    DESCRIPTION = "description"
    STATUS = "status"
    ATTRIBUTES = "attributes"


class FieldChangeDocument(serializers.Serializer):
    """A value before and after; null where there was or is no product."""

    old = serializers.JSONField(allow_null=True, help_text="The value before; null where there was no product.")
    new = serializers.JSONField(allow_null=True, help_text="The value after; null where there is none any more.")


class ChangeDocument(serializers.Serializer):
    """What changes in one product."""

    line_number = serializers.IntegerField(allow_null=True, help_text="Of the file; null where the file lacks it.")
    sku = serializers.CharField(help_text="Names the product.")
    action = serializers.ChoiceField(Action.choices, help_text="What becomes of the product.")
    version = serializers.IntegerField(help_text="The product's version after the change.")
    fields = serializers.DictField(
        child=FieldChangeDocument(), help_text="Each field that changes: its value before and after."
    )  # type: ignore[assignment]  # a field, not the property


@extend_schema(tags=["imports"])
class ChangesViewSet(GenericViewSet):
    queryset = ProductChange.objects.all()
    serializer_class = ChangeDocument
    pagination_class = KeyPages
    required_scopes = {"list": {Scope.READ, Scope.IMPORT}}

    @extend_schema(
        operation_id="imports_changes_list",
        summary="List what an import changes",
        description="Of a checked file, what it would change; of an applied one, what it has changed.",
        parameters=[
            ID,
            OpenApiParameter("action", OpenApiTypes.STR, enum=Action.values, description="Only these."),
            OpenApiParameter("search", OpenApiTypes.STR, description="Only skus that begin with this."),
            OpenApiParameter("field", OpenApiTypes.STR, enum=Field.values, description="Only where this changes."),
        ],
        responses={200: ChangeDocument(many=True), **problems(404)},
    )
    def list(self, request: Request, import_id: str) -> Response:
        import_ = visible_import(request, import_id)
        wanted = ChangeFilter(
            choice(request, "action", Action.values),
            request.query_params.get("search", "").replace("\0", ""),
            choice(request, "field", Field.values),
        )
        page = self.paginate_queryset(cast("Any", changes_of(import_, wanted))) or []
        return self.get_paginated_response(page)
