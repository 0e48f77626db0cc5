"""The feed of changes: what changed in the catalogue, in an order in which nothing can be missed.

Ids and times are given out before a transaction commits, so that a reader who remembers the greatest one it has seen
would miss the changes of a transaction that took its ids early and committed late. The feed is therefore in the order
of (transaction, id), and ends before the oldest transaction that still runs: behind a place once read nothing can
appear any more. While an import writes, the feed waits for it.

Changes outside of imports have an index in that order. Those of an import lie together, and its row says where.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypedDict

from django.db import connection, transaction

from common.errors import InvalidInputError
from products.events import in_order
from products.models import ChangePush, Import

STRETCH = 2000
"""Ids of an import's history that are looked through at a time, at least."""


class Place(NamedTuple):
    """Where in the feed: after this change of this transaction."""

    transaction: int
    change: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """What `str` gave. Raises ValueError."""
        first, _, second = text.partition(".")
        place = cls(int(first), int(second))
        if not all(0 <= number < 2**63 for number in place):
            raise ValueError(text)
        return place

    def __str__(self) -> str:
        return f"{self.transaction}.{self.change}"


START = Place(0, 0)
NOW = "now"
"""Instead of a place: behind all that there is."""

FeedItem = TypedDict(
    "FeedItem",
    {
        "id": int,
        "product_id": int,
        "sku": str,
        "action": str,
        "version": int,
        "changed_fields": list[str],
        "previous": Any,
        "import": str | None,
        "changed_by": str | None,
        "changed_at": str,
    },
    total=False,
)
"""One change of one product."""


class _Change(NamedTuple):
    """A row of the history."""

    transaction: int
    id: int
    product_id: int
    sku: str
    action: str
    version: int
    names: str | None
    """Of what an update changed, with commas between."""
    previous: str | None
    """JSON."""
    import_id: str | None
    changed_by: str | None
    changed_at: str

    @property
    def place(self) -> Place:
        return Place(self.transaction, self.id)


def horizon() -> int:
    """The oldest transaction that may still be running: all before it have ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        return int(cursor.fetchone()[0])


class ChangeFeed(Protocol):
    """Changes of products, in an order to which nothing is added but at the end."""

    def read(self, *, after: str | None, limit: int) -> tuple[list[FeedItem], str | None]:
        """Up to `limit` changes after a place, and the place to go on from; None where nothing will ever follow.
        Raises ValueError for a text that is no place."""


@dataclass(frozen=True)
class ImportFeed:
    """The changes of one import that was applied. They are all there: nothing is added later."""

    import_: Import
    values: bool = False

    def read(self, *, after: str | None, limit: int) -> tuple[list[FeedItem], str | None]:
        place = Place.parse(after) if after else START
        low, high = max(self.import_.changes_after or 0, place.change), self.import_.changes_until or 0
        found = list(_of_import(self.import_.pk, low, high, limit + 1, self.values))
        changes = found[:limit]
        following = Place(0, changes[-1].id) if len(found) > limit else None
        return [_item(change, self.values) for change in changes], following and str(following)


@dataclass(frozen=True)
class CatalogueFeed:
    """All changes that were made by transactions before `until`."""

    until: int
    values: bool = False

    def read(self, *, after: str | None, limit: int) -> tuple[list[FeedItem], str]:
        """Raises InvalidInputError for a place of the time before the database was restored elsewhere."""
        if after == NOW:
            return [], _named(Place(self.until, 0))
        place = _place_here(after) if after else START
        changes = _edits(place, self.until, limit, self.values)
        # Behind the last of as many edits as are wanted, no import matters.
        until = changes[-1].transaction + 1 if len(changes) == limit else self.until
        changes += islice(_of_imports(place, until, limit, self.values), limit)
        changes = sorted(changes, key=lambda change: change.place)[:limit]
        return [_item(change, self.values) for change in changes], _named(changes[-1].place if changes else place)


def _named(place: Place) -> str:
    """The numbers of transactions mean something on one server alone."""
    return f"{_server()}.{place}"


def _place_here(text: str) -> Place:
    server, _, place = text.partition(".")
    known = Place.parse(place)
    if int(server) != _server():
        raise InvalidInputError(
            "The database was restored on another server since this cursor was given out, so that nobody can say what "
            "you have missed. Fetch the catalogue once more, and follow the feed from `?cursor=now`.",
            code="cursor_outdated",
        )
    return known


def _server() -> int:
    """Which cluster of databases this is, in few digits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier % 1000000007 FROM pg_control_system()")
        return int(cursor.fetchone()[0])


def adopt_history() -> bool:
    """Put a history that was restored from another server into the order of this one; False if it is.

    There it may have been written by transactions whose numbers are still to come here: nobody would see it for years,
    and what is new would come before it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT greatest((SELECT max(transaction_id) FROM products_productchange WHERE import_id IS NULL),
                            (SELECT max(changes_transaction) FROM products_import))
                   >= pg_snapshot_xmax(pg_current_snapshot())"""
        )
        if not cursor.fetchone()[0]:
            return False
        for table, column in (
            ("products_productchange", "transaction_id"),
            ("products_import", "changes_transaction"),
            ("products_changepush", "transaction_id"),
        ):
            cursor.execute(
                f"UPDATE {table} SET {column} = pg_current_xact_id()"  # noqa: S608 - our own names
                f" WHERE {column} >= pg_snapshot_xmax(pg_current_snapshot())"
            )
    return True


def items_for(push: ChangePush, limit: int) -> list[FeedItem]:
    """The next changes that an endpoint is to be told of."""
    if push.import_id:
        found = _of_import(push.import_id, push.after, push.until, limit, values=False)
    else:
        condition = "c.import_id IS NULL AND c.transaction_id = %s::text::xid8"
        found = _stretch(condition, [push.transaction_id], push.after, push.until, limit, values=False)
    return [_item(change, with_values=False) for change in found]


# --- the database ----------------------------------------------------------------------------------

_SELECT = """
SELECT c.transaction_id::text, c.id, c.product_id, c.sku, c.action, c.version,
       CASE WHEN c.action = 'updated'
            THEN (SELECT string_agg(name, ',') FROM jsonb_object_keys(c.previous) AS name) END,
       {previous}, c.import_id::text, u.username,
       to_char(c.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
  FROM products_productchange AS c
  LEFT JOIN accounts_user AS u ON u.id = c.actor_id
 WHERE {condition}
 ORDER BY {order}
 LIMIT %s
"""


def _read(condition: str, order: str, parameters: Iterable[Any], *, values: bool) -> list[_Change]:
    # All the words are ours; what comes from elsewhere is a parameter.
    sql = _SELECT.format(previous="c.previous::text" if values else "NULL", condition=condition, order=order)
    with transaction.atomic(), connection.cursor() as cursor:
        # Of half a million rows just written there are no statistics yet. An index has all that is asked here.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(sql, list(parameters))
        return [_Change(int(row[0]), *row[1:]) for row in cursor.fetchall()]


def _edits(after: Place, until: int, limit: int, values: bool) -> list[_Change]:
    condition = (
        "c.import_id IS NULL AND c.transaction_id < %s::text::xid8"
        " AND (c.transaction_id, c.id) > (%s::text::xid8, %s::bigint)"
    )
    return _read(condition, "c.transaction_id, c.id", [until, *after, limit], values=values)


def _of_imports(after: Place, until: int, limit: int, values: bool) -> Iterator[_Change]:
    """Of all imports. Each of those chosen has at least one change, so `limit` of them are enough."""
    sql = """
        SELECT id, changes_transaction::text, changes_after, changes_until
          FROM products_import
         WHERE (changes_transaction, changes_until) > (%s::text::xid8, %s::bigint)
           AND changes_transaction < %s::text::xid8
           AND rows_created + rows_updated + rows_deleted + products_deactivated > 0
         ORDER BY products_import.changes_transaction, changes_after  -- by its bare name it would be the text above
         LIMIT %s"""
    with connection.cursor() as cursor:
        cursor.execute(sql, [*after, until, limit + 1])
        imports = cursor.fetchall()
    for import_id, transaction_id, low, high in imports:
        begun = int(transaction_id) == after.transaction
        yield from _of_import(import_id, max(low, after.change) if begun else low, high, limit, values)


def _of_import(import_id: Any, low: int, high: int, limit: int, values: bool) -> Iterator[_Change]:
    return _stretch("c.import_id = %s", [import_id], low, high, limit, values=values)


def _stretch(
    condition: str, parameters: list[Any], low: int, high: int, limit: int, *, values: bool
) -> Iterator[_Change]:
    """The first of what was written between two ids. Rows lie in the order of their ids: a summary finds those of a
    stretch, so a long history is read a stretch at a time."""
    while low < high and limit:
        until = min(low + max(STRETCH, limit), high)
        changes = _read(
            f"c.id > %s AND c.id <= %s AND {condition}", "c.id", [low, until, *parameters, limit], values=values
        )
        yield from changes
        low = until
        limit -= len(changes)


@lru_cache(maxsize=64)
def _in_order(names: str | None) -> list[str]:
    return in_order(names.split(",")) if names else []


def _item(change: _Change, with_values: bool) -> FeedItem:
    item: FeedItem = {
        "id": change.id,
        "product_id": change.product_id,
        "sku": change.sku,
        "action": change.action,
        "version": change.version,
        "changed_fields": _in_order(change.names),
        "import": change.import_id,
        "changed_by": change.changed_by,
        "changed_at": change.changed_at,
    }
    if with_values:
        previous = json.loads(change.previous or "{}")
        item["previous"] = {name: previous[name] for name in in_order(previous)}
    return item
