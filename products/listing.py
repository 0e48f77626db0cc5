"""The catalogue as its readers are shown it: one product, or a page of them in an order that an index has.

Rows are read as they go out: Django's models are not made, and PostgreSQL's JSON stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from django.db.models import BooleanField, F, Func, QuerySet, TextField, Value
from django.db.models.expressions import OrderBy
from django.db.models.functions import Cast, Lower
from django.db.models.lookups import GreaterThan, LessThan

from common.counting import estimate
from common.queries import Statement
from common.rendering import JsonText
from products.catalogue import as_sought, with_sku
from products.models import Product
from products.selection import Selection, changed_by

FIELDS = ("sku", "name", "description", "status", "attributes", "version", "created_at", "updated_at")
"""What everybody is shown of a product, in this order."""
ORDERS = ("id", "-id", "sku", "-sku")
"""In which pages can be read: by creation, or by sku without regard to case, letter by letter."""
NEXT = 5000
"""Changes of an import, in order, among which a page of its products is looked for."""
BEFORE_SKU = "sku "
"""Begins the key of a place in the order of skus, so that it is not taken for one in the order of creation."""


def document_with_sku(sku: str) -> dict[str, Any] | None:
    """The product with this sku, and its `id`; None if there is none."""
    for document in _documents(("id", *FIELDS), _ONE.rows(as_sought(sku))):
        return document
    return None


@dataclass(frozen=True)
class Listing:
    """The products of a selection in one of `ORDERS`, as `common.pagination.Rows`."""

    selection: Selection
    order: str = "id"
    fields: tuple[str, ...] = FIELDS

    def page(self, *, after: Any, before: Any, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` products after a key, or before one. Each has its `key` first."""
        keys = [key for key in (after, before) if key is not None]
        down = self.order.startswith("-") != (before is not None)
        shape = (self.order.lstrip("-"), down, self.fields, limit)
        if self.selection == Selection():
            rows = _of_all(*shape, *map(type, keys)).rows(*keys)
        elif (found := self._of_import(*shape, *keys)) is not None:
            rows = found
        else:
            rows = list(page_query(self.selection.products(), *shape, *keys))
        if before is not None:
            rows.reverse()
        documents = _documents(("key", *self.fields), rows)
        if self.order.endswith("sku"):
            for document in documents:
                document["key"] = BEFORE_SKU + document["key"]
        return documents

    def _of_import(
        self, by: str, down: bool, fields: tuple[str, ...], limit: int, *key: Any
    ) -> list[tuple[Any, ...]] | None:
        """A page of the products that an import changed. The history has all that puts them in order: of a million, the
        next ones are found in a fifth of a second, where it takes two to look all of them up first. None if no import
        is asked for, or if of the NEXT ones fewer than a page are still there and meet the other filters."""
        if not self.selection.import_id:
            return None
        changes = changed_by(self.selection.import_id)
        others = replace(self.selection, import_id="")
        for number in (2 * limit, NEXT) if others == Selection() else (NEXT,):
            products = list(_in_order(changes, Lower("sku") if by == "sku" else F("product_id"), down, *key)[:number])
            rows = list(page_query(others.products().filter(pk__in=products), by, down, fields, limit))
            if len(rows) == limit or len(products) < number:
                return rows
        return None

    def parse_key(self, text: str) -> int | str:
        """The key of a cursor. Raises ValueError for one of another order."""
        if not self.order.endswith("sku"):
            number = int(text)
            if not -(2**63) <= number < 2**63:
                raise ValueError(text)
            return number
        if not text.startswith(BEFORE_SKU) or "\0" in text:
            raise ValueError(text)
        return text.removeprefix(BEFORE_SKU)

    def estimated_total(self) -> int:
        """How many there are, as PostgreSQL's planner guesses: from its statistics, without reading a product."""
        return estimate(self.selection.products().values("id"))


@lru_cache(maxsize=256)
def _of_all(by: str, down: bool, fields: tuple[str, ...], limit: int, *keys: type) -> Statement:
    """A page of the whole catalogue, compiled once."""
    build = partial(page_query, Product.objects.all(), by, down, fields, limit)
    return Statement(build, *(kind() for kind in keys))


def page_query(
    found: QuerySet[Product], by: str, down: bool, fields: tuple[str, ...], limit: int, *key: Any
) -> QuerySet[Product, tuple[Any, ...]]:
    """The first `limit` of these products, or the first behind a key: rows of each one's key and these fields."""
    column = Lower("sku") if by == "sku" else F("id")
    return _in_order(found, column, down, *key).values_list(column, *map(_as_text, fields))[:limit]


def _in_order(found: QuerySet[Any, Any], column: Lower | F, down: bool, *key: Any) -> QuerySet[Any, Any]:
    """These rows in the order of a column, from behind a key."""
    if isinstance(column, Lower):
        if key:
            found = found.filter(_Behind(column, Value(*key), arg_joiner=" ~<~ " if down else " ~>~ "))
        return found.order_by(_ByBytes(column, descending=down))
    if key:
        found = found.filter((LessThan if down else GreaterThan)(column, *key))
    return found.order_by(OrderBy(column, descending=down))


class _Behind(Func):
    """Comparison by the operators of an index with text_pattern_ops: by bytes, whatever the database's locale."""

    template = "%(expressions)s"
    output_field = BooleanField()


class _ByBytes(OrderBy):
    """The order of such an index."""

    def as_sql(self, compiler: Any, connection: Any, template: str | None = None, **context: Any) -> Any:
        # The comment is for Django, which looks for one of its two words behind each expression.
        words = "USING ~>~ /* DESC */" if self.descending else "USING ~<~ /* ASC */"
        return super().as_sql(compiler, connection, f"%(expression)s {words}")


def _as_text(field: str) -> Any:
    return Cast(field, TextField()) if field == "attributes" else F(field)


def _documents(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    documents = [dict(zip(names, row, strict=True)) for row in rows]
    if "attributes" in names:
        for document in documents:
            document["attributes"] = JsonText(document["attributes"])
    return documents


_ONE = Statement(lambda sku: with_sku(sku).order_by().values_list("id", *map(_as_text, FIELDS)), "sku")
