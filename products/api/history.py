"""`/api/v1/products/{sku}/history/`: every change of one product, whichever way it came."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Scope
from common.openapi import problems
from common.pagination import KeyPages
from products.api.changes import FieldChangeDocument
from products.api.products import SKU
from products.changes import History, HistoryDocument
from products.models import Import, ProductChange


class ChangingImport(serializers.Serializer):
    """The import that made a change."""

    id = serializers.UUIDField(help_text="Names the import.")
    file_name = serializers.CharField(allow_null=True, help_text="Null where you may not see the import.")


class ProductHistoryEntry(serializers.Serializer):
    """One change of the product."""

    action = serializers.ChoiceField(ProductChange.Action.choices, help_text="What became of the product.")
    version = serializers.IntegerField(help_text="The product's version after the change.")
    sku = serializers.CharField(help_text="As it was spelled at that time.")
    fields = serializers.DictField(
        child=FieldChangeDocument(), help_text="Each field that changed: its value before and after."
    )  # type: ignore[assignment]  # a field, not the property
    changed_by = serializers.CharField(allow_null=True, help_text="Username; null for nobody, or nobody any more.")
    changed_at = serializers.DateTimeField(help_text="When, in UTC.")
    line_number = serializers.IntegerField(allow_null=True, help_text="Of the import's file.")


# `import` is no name in Python.
ProductHistoryEntry._declared_fields["import"] = ChangingImport(
    allow_null=True, help_text="The import that made the change; null if it was made by hand."
)


@extend_schema(tags=["products"])
class HistoryViewSet(GenericViewSet):
    queryset = ProductChange.objects.all()
    serializer_class = ProductHistoryEntry
    pagination_class = KeyPages
    required_scopes = {"list": {Scope.READ}}

    @extend_schema(
        operation_id="products_history_list",
        summary="List the changes of a product",
        description="Newest first. The history of a product that was deleted is found by the sku that it had.",
        parameters=[SKU],
        responses={200: ProductHistoryEntry(many=True), **problems(404)},
    )
    def list(self, request: Request, sku: str) -> Response:
        history = History.of_sku(sku, Import.objects.visible_to(request.user))
        page = self.paginate_queryset(cast("Any", history)) or []
        return self.get_paginated_response([_shown(change) for change in page])


def _shown(change: HistoryDocument) -> dict[str, Any]:
    return {
        "action": change["action"],
        "version": change["version"],
        "sku": change["sku"],
        "fields": change["fields"],
        "changed_by": change["changed_by"],
        "changed_at": change["changed_at"],
        "import": change["source_import"],
        "line_number": change["line_number"],
    }
