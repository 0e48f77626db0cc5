"""Pages by key: page 10,000 costs what page 1 costs, and nothing is skipped or seen twice."""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from common.errors import InvalidInputError
from common.parameters import whole_number


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
            raise foreign_cursor() from None

    def get_paginated_response(self, data: Any) -> Response:
        """The page, with its neighbours also in the header `Link` (RFC 8288)."""
        response: Response = super().get_paginated_response(data)
        links = {"first": self.first_link, "next": response.data["next"], "prev": response.data["previous"]}
        response["Link"] = ", ".join(f'<{url}>; rel="{relation}"' for relation, url in links.items() if url)
        return response

    @cached_property
    def first_link(self) -> str:
        """Where the first page is."""
        here = self.base_url or ""
        return str(remove_query_param(here, self.cursor_query_param)) if self.cursor_query_param in here else here

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of this request. Raises ValueError: letters that base64 would skip are refused too."""
        b64decode(request.query_params.get(self.cursor_query_param, ""), validate=True)
        return super().decode_cursor(request)

    def get_page_size(self, request: Request) -> int:
        """Results on a page. Raises InvalidInputError."""
        raw = request.query_params.get(self.page_size_query_param)
        if raw is None:
            return self.page_size
        size = whole_number(raw, self.max_page_size)
        if not size:
            raise InvalidInputError(
                f"`page_size` must be a whole number from 1 to {self.max_page_size}.", code="invalid_page_size"
            )
        return size


def foreign_cursor() -> InvalidInputError:
    """For a cursor that the list at hand did not give out."""
    return InvalidInputError(
        "`cursor` is not one that this list gave out. Follow `next` and `previous` as they are, "
        "or leave `cursor` away to start at the first page.",
        code="invalid_cursor",
    )


class NewestFirst(KeysetPages):
    """The same, from the last key to the first."""

    ordering = "-pk"


class Rows(Protocol):
    """Rows with keys, fetched a page at a time."""

    def page(self, *, after: Any, before: Any, limit: int) -> list[Any]:
        """Up to `limit` rows in order: the first ones after a key, or the last ones before it. Each has its "key"."""


class KeyPages(KeysetPages):
    """The same pages over `Rows`, which need not be a query set. Their keys are whole numbers."""

    def paginate_queryset(self, rows: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page of `rows`, without their keys. Raises InvalidInputError."""
        self.base_url: str = request.build_absolute_uri()
        limit = self.get_page_size(request)
        after, before = self._keys(request)
        found = rows.page(after=after, before=before, limit=limit + 1)
        more = len(found) > limit
        page: list[Any] = found[-limit:] if before is not None else found[:limit]
        self._page_keys = [row.pop("key") for row in page]
        self._has_previous = more if before is not None else after is not None
        self._has_next = before is not None or more
        return page

    def get_next_link(self) -> str | None:
        """Where the rows after this page are."""
        return self._link(f"after:{self._page_keys[-1]}") if self._has_next and self._page_keys else None

    def get_previous_link(self) -> str | None:
        """Where the rows before this page are."""
        return self._link(f"before:{self._page_keys[0]}") if self._has_previous and self._page_keys else None

    def _link(self, position: str) -> str:
        first = self.first_link  # put together by hand: DRF takes the whole address apart for each link
        cursor = urlencode({self.cursor_query_param: b64encode(position.encode()).decode()})
        return f"{first}{'&' if '?' in first else '?'}{cursor}"

    def parse_key(self, text: str) -> Any:
        """The key that a cursor holds. Raises ValueError for what is none of these rows'."""
        number = int(text)
        if not -(2**63) <= number < 2**63:
            raise ValueError(text)
        return number

    def _keys(self, request: Request) -> tuple[Any, Any]:
        text = request.query_params.get(self.cursor_query_param)
        if not text:
            return None, None
        try:
            side, _, key = b64decode(text, validate=True).decode().partition(":")
            found = self.parse_key(key)
        except ValueError:
            raise foreign_cursor() from None
        if side not in ("after", "before"):
            raise foreign_cursor()
        return (found, None) if side == "after" else (None, found)


class Feed(Protocol):
    """Entries that are only ever added at the end, with places between them. The text of a place is a cursor."""

    def read(self, *, after: str | None, limit: int) -> tuple[list[Any], str | None]:
        """Up to `limit` entries after a place, and the place to go on from; None where nothing will ever follow.
        Raises ValueError for what is no place of this feed."""


class FeedPages(KeysetPages):
    """Pages of a `Feed`, forwards only. `next` is there at the end, too, where more may come: asked again later, it
    leads to what came since."""

    def paginate_queryset(self, feed: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page of `feed`. Raises InvalidInputError."""
        self.base_url: str = request.build_absolute_uri()
        limit = self.get_page_size(request)
        try:
            found, self._next = feed.read(after=request.query_params.get(self.cursor_query_param), limit=limit)
        except ValueError:
            raise foreign_cursor() from None
        return list(found)

    def get_next_link(self) -> str | None:
        """Where the entries after this page are, or will be."""
        return self.link_to(self.base_url, self._next) if self._next is not None else None

    def get_previous_link(self) -> None:
        """Nobody reads a feed backwards."""
        return

    @classmethod
    def link_to(cls, url: str, place: str) -> str:
        """The address that goes on from a place."""
        return str(replace_query_param(url, cls.cursor_query_param, place))
