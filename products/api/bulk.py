"""`/api/v1/products/bulk/`: many products written by one request."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.errors import ServiceError
from common.fields import Body, Flag, Whole, read_fields
from common.openapi import FieldProblem, problems
from products.api.serializers import READ_ONLY, TextField
from products.importing.columns import NAME, SKU
from products.writes import MOST, Outcome, Status, Write, write_products

LARGEST = 2**63 - 1


class BulkItem(Body):
    """One product to be created, changed or deleted. What its values may be is judged item by item."""

    passed_over = READ_ONLY

    action = serializers.ChoiceField(
        ["upsert", "delete"],
        default="upsert",
        help_text="`upsert`: create the product, or change it where there is one.",
    )
    sku = TextField(
        allow_blank=True,
        help_text=f"Names the product, in up to {SKU.limit} characters; upper and lower case count as the same.",
    )
    if_version = Whole(
        required=False,
        min_value=0,
        max_value=LARGEST,
        help_text="Write only if the product has this version; 0: only if there is none.",
    )
    name = TextField(
        required=False,
        allow_blank=True,
        help_text=f"What people call the product, in up to {NAME.limit} characters; a new one needs it.",
    )
    description = TextField(required=False, allow_blank=True, help_text="Text of any length up to the limit.")
    status = TextField(required=False, allow_blank=True, help_text="`active` or `inactive`.")
    attributes = serializers.DictField(
        required=False, help_text="Whatever else is known of the product: names and values. They replace all it has."
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields and name not in self.passed_over]
            if unknown:
                raise serializers.ValidationError(
                    {name: serializers.ErrorDetail("A product has no such field.", "unknown_field") for name in unknown}
                )
        fields: dict[str, Any] = super().to_internal_value(data)
        return fields


class Items(serializers.ListField):
    """The items; how many there are is looked at before what they are."""

    child = BulkItem()

    def __init__(self, **options: Any) -> None:
        super().__init__(min_length=1, max_length=MOST, **options)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, list) and len(data) > MOST:
            raise serializers.ValidationError(
                f"There are {len(data):,} items; at most {MOST:,} are taken at a time. Import a file of more.",
                code="too_many_items",
            )
        return super().to_internal_value(data)


class BulkWrite(Body):
    """Products to be written, each for itself, or all or none."""

    items = Items(help_text=f"At most {MOST:,}, each sku once.")
    atomic = Flag(default=False, help_text="Write all of them, or none if there is one that can't be written.")


class BulkResult(serializers.Serializer):
    """What came of one item."""

    index = serializers.IntegerField(help_text="Of the item in the request; the first is 0.")
    sku = serializers.CharField(help_text="Of the item, as it is stored.")
    status = serializers.ChoiceField(
        Status.choices,
        help_text="`not_found`: there was nothing to delete. `conflict`: the product is not as `if_version` wants it.",
    )
    version = serializers.IntegerField(
        allow_null=True, help_text="Of the product as it is now; null where there is none, or the item was refused."
    )
    errors = FieldProblem(many=True, help_text="Why it was refused; each pointer leads into the request.")  # type: ignore[assignment]  # a field, not the property


class BulkDocument(serializers.Serializer):
    """What came of all items."""

    created = serializers.IntegerField(help_text="Items that created a product.")
    updated = serializers.IntegerField(help_text="Items that changed a product.")
    unchanged = serializers.IntegerField(help_text="Items whose product was like that already.")
    deleted = serializers.IntegerField(help_text="Items that deleted a product.")
    not_found = serializers.IntegerField(help_text="Items that had nothing to delete.")
    conflict = serializers.IntegerField(help_text="Items whose product is not as their `if_version` wants it.")
    invalid = serializers.IntegerField(help_text="Items that break a rule.")
    results = BulkResult(many=True, help_text="What came of each item, in the order of the request.")


EXAMPLE = OpenApiExample(
    "Two to have, one to be gone",
    {
        "items": [
            {"sku": "LAMP-1", "name": "Oak lamp", "status": "active"},
            {"sku": "LAMP-2", "name": "Brass lamp", "if_version": 3},
            {"sku": "LAMP-3", "action": "delete"},
        ]
    },
    request_only=True,
)


@extend_schema(tags=["products"])
class BulkViewSet(IdempotentPosts, ViewSet):
    required_scopes = {"write": {Scope.WRITE}}

    @extend_schema(
        operation_id="products_bulk",
        summary="Write many products",
        description=(
            f"Creates, changes and deletes up to {MOST:,} products by sku. The answer is 200 whatever came of the "
            "items, and says it of each: `errors` of those that were refused. With `atomic` one that is refused keeps "
            "all from being written, and the answer is 400, or 409 if nothing but `if_version` is in the way. A body "
            "that is not of this shape is refused as a whole. For more products, import a file. Webhooks tell of it "
            "as `products.changed`, as of an import."
        ),
        request=BulkWrite,
        examples=[EXAMPLE],
        responses={200: BulkDocument, **problems(409, 413, 415)},
    )
    def write(self, request: Request) -> Response:
        body = read_fields(BulkWrite, request)
        writes = [_write(item) for item in body["items"]]
        try:
            outcomes = write_products(writes, actor=person(request), atomic=body["atomic"])
        except ServiceError as error:
            error.errors = tuple(each.below("/items") for each in error.errors)
            raise
        return Response(_document(outcomes))


def _write(item: dict[str, Any]) -> Write:
    sku, if_version = item.pop("sku"), item.pop("if_version", None)
    return Write(sku, delete=item.pop("action") == "delete", if_version=if_version, fields=item)


def _document(outcomes: list[Outcome]) -> dict[str, Any]:
    counts = Counter(outcome.status for outcome in outcomes)
    results = [
        {
            "index": index,
            "sku": outcome.sku,
            "status": outcome.status,
            "version": outcome.version,
            "errors": [asdict(error.below(f"/items/{index}")) for error in outcome.errors],
        }
        for index, outcome in enumerate(outcomes)
    ]
    return {**{status.value: counts[status] for status in Status}, "results": results}
