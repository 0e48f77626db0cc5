"""Conditional requests (RFC 9110, section 13): what the client has already is not sent, and what it has not seen
is not overwritten."""

from __future__ import annotations

from collections.abc import Callable

from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from common.errors import PreconditionFailedError
from products.models import Product

IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The ETag of an earlier answer: if the product still has it, the answer is a 304 without a body.",
)
IF_MATCH = OpenApiParameter(
    "If-Match",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The ETag that you saw: if the product has another by now, nothing is written and the answer is 412.",
)
ETAG = OpenApiParameter(
    "ETag",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=[200, 201],
    description="Names this state of the product, for `If-None-Match` and `If-Match`.",
)


def etag(product_id: int, version: int) -> str:
    """The strong validator of a product. With its id, since another of the same sku begins at version 1 again."""
    return f'"{product_id}-{version}"'


def with_etag(response: Response, tag: str) -> Response:
    """Stored answers are of use only to who asked, and only once they are found to be still true."""
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    return response


def has_already(request: Request, tag: str) -> bool:
    """Whether the client has this state already. A proxy that compresses may have made its ETag a weak one."""
    return _names(request.META.get("HTTP_IF_NONE_MATCH"), tag, weak=True)


def precondition(request: Request) -> Callable[[Product], None]:
    """What a write looks at, with the product locked: it raises PreconditionFailedError if the client meant another
    state of it."""
    wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")

    def check(product: Product) -> None:
        tag = etag(product.pk, product.version)
        if wanted is not None and not _names(wanted, tag, weak=False):
            raise PreconditionFailedError(
                f"{product.sku} is not in the state that If-Match names: {wanted[:80]}. Its ETag is {tag} now. Nothing "
                "was written. Read the product again and decide anew; send the ETag as it was given, with its quotes."
            )
        if _names(unwanted, tag, weak=True):
            raise PreconditionFailedError(
                f"{product.sku} exists in a state that If-None-Match excludes: its ETag is {tag}. Nothing was written."
            )

    return check


def _names(header: str | None, tag: str, *, weak: bool) -> bool:
    """Whether a list of ETags has this one; `weak` ones count only where that is said."""
    if header is None:
        return False
    tags = parse_etags(header)
    return tags == ["*"] or tag in tags or (weak and f"W/{tag}" in tags)
