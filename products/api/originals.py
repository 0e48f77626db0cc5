"""The paths of the service that this one replaces; the code behind them is the same."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from common.errors import InvalidInputError
from common.openapi import problems
from common.parameters import whole_number
from products import catalogue
from products.api.conditions import ETAG, IF_MATCH, IF_NONE_MATCH
from products.api.imports import ImportViewSet, upload_schema
from products.api.products import CHOSEN, NOT_MODIFIED, SKU, ProductViewSet
from products.api.serializers import NewProduct, ProductDocument, ProductFields, ShownProduct
from products.listing import FIELDS
from products.models import Product

LIMIT, MOST, FARTHEST = 100, 1000, 2**31


@extend_schema_view(create=upload_schema(summary="Import a file", operation_id="original_import_create"))
@extend_schema(tags=["original paths"])
class OriginalImportViewSet(ImportViewSet):
    """`POST /products/csv`."""


@extend_schema_view(
    create=extend_schema(
        operation_id="original_products_create",
        summary="Create a product",
        description="As `POST /api/v1/products/`.",
        parameters=[ETAG],
        request=NewProduct,
        responses={201: ProductDocument, **problems(409, 415)},
    ),
    retrieve=extend_schema(
        operation_id="original_products_retrieve",
        summary="Read a product",
        description="As `GET /api/v1/products/{sku}/`.",
        parameters=[SKU, CHOSEN, IF_NONE_MATCH, ETAG],
        responses={200: ShownProduct, 304: NOT_MODIFIED, **problems(404)},
    ),
    update=extend_schema(
        operation_id="original_products_update",
        summary="Replace a product",
        description="As `PUT /api/v1/products/{sku}/`.",
        parameters=[SKU, IF_MATCH, ETAG],
        request=ProductFields,
        responses={200: ProductDocument, **problems(404, 412, 415)},
    ),
    destroy=extend_schema(
        operation_id="original_products_delete",
        summary="Delete a product",
        description="As `DELETE /api/v1/products/{sku}/`.",
        parameters=[SKU, IF_MATCH],
        responses={204: None, **problems(404, 412)},
    ),
)
@extend_schema(tags=["original paths"])
class OriginalProductViewSet(ProductViewSet):
    """`/products/all`, `/products/new` and `/products/id/{sku}`."""

    pagination_class = None  # type: ignore[assignment]  # a plain list, as it was

    required_scopes = {**ProductViewSet.required_scopes, "list_all": {Scope.READ}}

    @extend_schema(
        operation_id="original_products_list",
        summary="List products by position",
        description="The further `skip` goes, the longer it takes: `/api/v1/products/` has pages without that.",
        parameters=[
            OpenApiParameter(
                "skip",
                {"type": "integer", "minimum": 0, "maximum": FARTHEST},
                default=0,
                description="Products to leave out at the start.",
            ),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 0, "maximum": MOST},
                default=LIMIT,
                description=f"Products to show, up to {MOST}.",
            ),
        ],
        responses={200: ProductDocument(many=True), **problems()},
    )
    def list_all(self, request: Request) -> Response:
        skip = _number(request, "skip", 0)
        limit = _number(request, "limit", LIMIT, MOST)
        return Response(list(Product.objects.order_by("id").values(*FIELDS)[skip : skip + limit]))

    def retrieve(self, request: Request, sku: str) -> Response:
        return super().retrieve(request, _meant(sku))

    def update(self, request: Request, sku: str) -> Response:
        return super().update(request, _meant(sku))

    def destroy(self, request: Request, sku: str) -> Response:
        return super().destroy(request, _meant(sku))


def _meant(sku: str) -> str:
    """The sku without the slash that the address may end in, unless that is the sku's own, of a product that is there
    or was: to delete such a one twice must not delete another."""
    if not sku.endswith("/") or catalogue.with_sku(sku).exists() or catalogue.deleted_with_sku(sku).exists():
        return sku
    return sku[:-1]


def _number(request: Request, name: str, default: int, most: int = FARTHEST) -> int:
    """A count out of the address. Raises InvalidInputError for anything but a number from 0 to `most`."""
    text = request.query_params.get(name, "") or str(default)
    number = whole_number(text, most)
    if number is None:
        message = f"{name}={text!r} must be a whole number from 0 to {most}."
        raise InvalidInputError.about(name, message, "invalid_number")
    return number
