"""`/api/v1/products/`: the catalogue, one product or one page at a time."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.errors import FieldError, InvalidInputError
from common.fields import read_fields
from common.openapi import problems
from common.pagination import KeyPages
from common.parameters import choice, chosen_fields, refuse_empty
from products import catalogue
from products.api.conditions import ETAG, IF_MATCH, IF_NONE_MATCH, etag, has_already, precondition, with_etag
from products.api.serializers import NewProduct, ProductDocument, ProductFields, ProductPatch, ShownProduct
from products.events import path_of
from products.listing import FIELDS, ORDERS, Listing, document_with_sku
from products.models import Product
from products.selection import Selection

REPLACED_BY = {"description": "", "status": str(Product.Status.ACTIVE), "attributes": {}}
"""What PUT gives the fields that its body leaves out."""

SKU = OpenApiParameter(
    "sku",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    description=(
        "In upper or lower case, percent-encoded; it may hold slashes. One that ends in `/history`, or is `bulk`, is "
        "reached by `/products/id/{sku}`."
    ),
)
FILTERS = [
    OpenApiParameter(
        "status", OpenApiTypes.STR, enum=Product.Status.values, description="Only products of this status."
    ),
    OpenApiParameter("sku", OpenApiTypes.STR, description="Only products whose sku begins with this."),
    OpenApiParameter(
        "search", OpenApiTypes.STR, description="Only products with all these words in their sku or name."
    ),
    OpenApiParameter(
        "changed_since",
        OpenApiTypes.DATE,
        description="Only products created or changed since this day began, in UTC, such as `2026-11-25`.",
    ),
    OpenApiParameter("import", OpenApiTypes.UUID, description="Only products that the import of this id changed."),
    OpenApiParameter(
        "attributes.NAME",
        OpenApiTypes.STR,
        description="Only products whose attribute of this name has this value: a text, a number, `true` or `false`.",
    ),
]
_FIELD = f" *({'|'.join(FIELDS)}) *"
CHOSEN = OpenApiParameter(
    "fields",
    {"type": "string", "pattern": f"^{_FIELD}(,{_FIELD})*$"},
    description=(
        f"Only these fields, with commas between them, of {', '.join(FIELDS)}. `sku` is always there: it names the "
        "product."
    ),
)
ORDERING = OpenApiParameter(
    "ordering",
    OpenApiTypes.STR,
    enum=ORDERS,
    default=ORDERS[0],
    description=(
        "`id` is the order of their creation; `sku` that of their skus, in small letters and by the bytes of UTF-8. "
        "`-` in front turns it round. There are no others, since only these have an index in which every page is quick."
    ),
)
TOTAL = OpenApiParameter(
    "total",
    OpenApiTypes.STR,
    enum=["estimate"],
    description="`estimate` adds `total_estimate`: about how many there are in all, as PostgreSQL's planner guesses.",
)

NEVER_EMPTY = ("status", "import", "changed_since")
"""Filters that have no value that could be empty."""

NOT_MODIFIED = OpenApiResponse(description="The product is still in the state that If-None-Match names.")


class ProductPages(KeyPages):
    """In the order that is asked for. With `?total=estimate`, they also say about how many products there are."""

    def paginate_queryset(self, rows: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page of a `Listing`. Raises InvalidInputError."""
        self._rows: Listing = rows
        self._counts = bool(choice(request, "total", ["estimate"]))
        return super().paginate_queryset(rows, request, view)

    def parse_key(self, text: str) -> int | str:
        return self._rows.parse_key(text)

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        if self._counts:
            response.data["total_estimate"] = self._rows.estimated_total()
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        words = "About how many products the filters select, on every page together. Only with `?total=estimate`."
        page["properties"]["total_estimate"] = {"type": "integer", "minimum": 0, "description": words}
        return page


@extend_schema_view(
    list=extend_schema(
        summary="List products",
        description="Page by page. All filters that are given have to be met.",
        parameters=[*FILTERS, ORDERING, CHOSEN, TOTAL],
        responses={200: ShownProduct(many=True), **problems()},
    ),
    create=extend_schema(
        summary="Create a product",
        description="Its sku has to be new, whatever its case.",
        parameters=[ETAG],
        request=NewProduct,
        responses={201: ProductDocument, **problems(409, 415)},
    ),
    retrieve=extend_schema(
        summary="Read a product",
        description="As it is now.",
        parameters=[SKU, CHOSEN, IF_NONE_MATCH, ETAG],
        responses={200: ShownProduct, 304: NOT_MODIFIED, **problems(404)},
    ),
    update=extend_schema(
        summary="Replace a product",
        description="Fields that are left out get their defaults. It does not create: an unknown sku is 404.",
        parameters=[SKU, IF_MATCH, ETAG],
        request=ProductFields,
        responses={200: ProductDocument, **problems(404, 412, 415)},
    ),
    partial_update=extend_schema(
        summary="Change a product",
        description="Fields that are left out stay. The version grows only if something really changes.",
        parameters=[SKU, IF_MATCH, ETAG],
        request=ProductPatch,
        responses={200: ProductDocument, **problems(404, 412, 415)},
    ),
    destroy=extend_schema(
        summary="Delete a product",
        description="Its history stays. A later product with the same sku is another one.",
        parameters=[SKU, IF_MATCH],
        responses={204: None, **problems(404, 412)},
    ),
)
@extend_schema(tags=["products"])
class ProductViewSet(IdempotentPosts, GenericViewSet):
    queryset = Product.objects.all()
    serializer_class = ProductDocument
    pagination_class = ProductPages
    lookup_field = "sku"
    required_scopes = {
        "list": {Scope.READ},
        "retrieve": {Scope.READ},
        "create": {Scope.WRITE},
        "update": {Scope.WRITE},
        "partial_update": {Scope.WRITE},
        "destroy": {Scope.WRITE},
    }

    def list(self, request: Request) -> Response:
        refuse_empty(request, NEVER_EMPTY)
        listing = Listing(
            Selection.parse(request.query_params.dict()),
            choice(request, "ordering", ORDERS, default=ORDERS[0]),
            chosen_fields(request, FIELDS, always="sku"),
        )
        page = self.paginate_queryset(cast("Any", listing)) or []
        return self.get_paginated_response(page)

    def retrieve(self, request: Request, sku: str) -> Response:
        fields = chosen_fields(request, FIELDS, always="sku")
        product = document_with_sku(sku)
        if product is None:
            raise catalogue.no_such_product(sku)
        tag = etag(product["id"], product["version"])
        if has_already(request, tag):
            return with_etag(Response(status=304), tag)
        return with_etag(Response({name: product[name] for name in fields}), tag)

    def create(self, request: Request) -> Response:
        fields = read_fields(NewProduct, request)
        product = catalogue.create_product(fields, actor=person(request))
        location = path_of(product.sku)
        return shown(product, status=201, headers={"Location": location})

    def update(self, request: Request, sku: str) -> Response:
        fields = read_fields(ProductFields, request)
        return self._write(request, sku, {**REPLACED_BY, **fields})

    def partial_update(self, request: Request, sku: str) -> Response:
        return self._write(request, sku, read_fields(ProductPatch, request))

    def _write(self, request: Request, sku: str, fields: dict[str, Any]) -> Response:
        product = catalogue.product_with_sku(sku)
        refuse_renaming(product, fields.pop("sku", None))
        return shown(
            catalogue.update_product(product, fields, actor=person(request), precondition=precondition(request))
        )

    def destroy(self, request: Request, sku: str) -> Response:
        product = catalogue.product_with_sku(sku)
        catalogue.delete_product(product, actor=person(request), precondition=precondition(request))
        return Response(status=204)


def shown(product: Product, **options: Any) -> Response:
    """The answer that shows a product."""
    return with_etag(Response(document(product), **options), etag(product.pk, product.version))


def document(product: Product) -> dict[str, Any]:
    """The product as everybody is shown it."""
    return {name: getattr(product, name) for name in FIELDS}


def refuse_renaming(product: Product, sku: str | None) -> None:
    """Raise InvalidInputError if the body names another sku than the address."""
    if sku is None or catalogue.with_sku(sku).filter(pk=product.pk).exists():
        return
    message = f"The sku can't be changed: this is {product.sku!r}. Create a product with the new sku, delete this one."
    raise InvalidInputError(message, code="sku_immutable", errors=[FieldError("/sku", "sku_immutable", message)])
