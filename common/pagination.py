"""Pages by key: page 10,000 costs what page 1 costs, and nothing is skipped or seen twice."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.views import APIView

from common.errors import InvalidInputError


class KeysetPages(CursorPagination):
    """Pages in the order of the primary key, as `{"results": [...], "next": url|null, "previous": url|null}`.

    `?page_size=` outside 1 to `max_page_size` and a `?cursor=` that isn't ours are refused
    (InvalidInputError) rather than quietly replaced by the first page.
    """

    page_size = 50
    max_page_size = 1000
    page_size_query_param = "page_size"
    ordering = "pk"

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        """One page of `queryset`. Raises InvalidInputError."""
        try:
            return super().paginate_queryset(queryset, request, view)
        except (NotFound, ValueError, ValidationError):
            # NotFound: it does not decode. The others: it decodes to what is no key of this table.
            if self.cursor_query_param not in request.query_params:
                raise
            raise InvalidInputError(
                "`cursor` is not one that this list gave out. Follow `next` and `previous` as they are, "
                "or leave `cursor` away to start at the first page.",
                code="invalid_cursor",
            ) from None

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of this request. Raises ValueError: letters that base64 would skip are refused too."""
        b64decode(request.query_params.get(self.cursor_query_param, ""), validate=True)
        return super().decode_cursor(request)

    def get_page_size(self, request: Request) -> int:
        """Results on a page. Raises InvalidInputError."""
        raw = request.query_params.get(self.page_size_query_param)
        if raw is None:
            return self.page_size
        if not (raw.isascii() and raw.isdigit() and len(raw) < 10 and 1 <= int(raw) <= self.max_page_size):
            raise InvalidInputError(
                f"`page_size` must be a whole number from 1 to {self.max_page_size}.", code="invalid_page_size"
            )
        return int(raw)


class NewestFirst(KeysetPages):
    """The same, from the last key to the first."""

    ordering = "-pk"
