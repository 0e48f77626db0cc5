"""What an import would change or has changed, and what changed in one product: field by field, old and new."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from django.db import ProgrammingError, connection, models
from django.db.models import Q, QuerySet
from psycopg.errors import UndefinedTable

from accounts.models import User
from common.errors import NotFoundError
from products.catalogue import deleted_with_sku, with_sku
from products.events import in_order
from products.importing.stager import changes_table, staging_table
from products.importing.statements import statement
from products.models import Import, Product, ProductChange
from products.models.catalogue import EDITABLE

STRETCH = 1000
"""Ids of an import's history among which a page of its changes is looked for first."""


class Action(models.TextChoices):
    """What may become of a product."""

    CREATED = "created"
    UPDATED = "updated"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"


class FieldChange(TypedDict):
    """A value before and after; null where there was or is no product."""

    old: Any
    new: Any


class ChangeDocument(TypedDict):
    """One product's change. `key` orders the changes of an import."""

    key: int
    line_number: int | None
    """Of the file; null for a product that the file lacks, and where there is no file."""
    sku: str
    action: str
    """One of Action."""
    version: int
    """Of the product, after the change."""
    fields: dict[str, FieldChange]


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes of an import to show. Empty ones show all."""

    action: str = ""
    search: str = ""
    """The beginning of the sku, whatever its case."""
    field: str = ""
    """One of EDITABLE: only products in which it changes."""


class Changes(Protocol):
    """The changes of an import, a page at a time."""

    def page(self, *, after: int | None, before: int | None, limit: int) -> list[ChangeDocument]:
        """Up to `limit` changes in order of their keys: the first ones after a key, or the last ones before it."""


def changes_of(import_: Import, wanted: ChangeFilter) -> Changes:
    """Those that wait to be applied, or those that were."""
    if import_.staged_attempt is not None:
        return _PlannedChanges(import_, wanted)
    return _AppliedChanges(import_, wanted)


@dataclass(frozen=True)
class _PlannedChanges:
    import_: Import
    wanted: ChangeFilter

    def page(self, *, after: int | None, before: int | None, limit: int) -> list[ChangeDocument]:
        backwards = before is not None
        conditions, parameters = self._conditions()
        if after is not None:
            conditions.append("c.line_number > %s")
            parameters.append(after)
        if before is not None:
            conditions.append("c.line_number < %s")
            parameters.append(before)
        # The names are ours, and so are the conditions; what somebody typed is a parameter.
        sql = f"""
            SELECT c.line_number, c.action, c.version, coalesce(p.sku, s.sku),
                   p.name, p.description, p.status, p.attributes, s.name, s.description, s.status,
                   CASE WHEN p.id IS NULL OR s.attributes IS NULL THEN s.attributes
                        ELSE {statement("new_attributes")}
                   END
              FROM {changes_table(self.import_)} AS c
              LEFT JOIN {staging_table(self.import_)} AS s ON s.line_number = c.line_number
              LEFT JOIN products_product AS p ON p.id = c.product_id
             WHERE {" AND ".join(conditions) or "true"}
             ORDER BY c.line_number {"DESC" if backwards else ""}
             LIMIT {int(limit)}"""  # noqa: S608
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                rows = [_planned(*row) for row in cursor.fetchall()]
        except ProgrammingError as error:
            if not isinstance(error.__cause__, UndefinedTable):
                raise
            return self._after_decision(limit)
        return rows[::-1] if backwards else rows

    def _after_decision(self, limit: int) -> list[ChangeDocument]:
        """Applied or discarded meanwhile, the list of what was planned is gone: the first of what was done."""
        now = Import.objects.get(pk=self.import_.pk)
        if now.staged_attempt == self.import_.staged_attempt:
            return []
        return changes_of(now, self.wanted).page(after=None, before=None, limit=limit)

    def _conditions(self) -> tuple[list[str], list[Any]]:
        conditions, parameters = [], []
        if self.wanted.action:
            conditions.append("c.action = %s")
            parameters.append(self.wanted.action)
        if self.wanted.search:
            conditions.append("starts_with(lower(coalesce(p.sku, s.sku)), lower(%s))")
            parameters.append(self.wanted.search)
        if self.wanted.field:
            name = EDITABLE[EDITABLE.index(self.wanted.field)]
            deactivated = " OR c.action = 'deactivated'" if name == "status" else ""
            new = statement("new_attributes") if name == "attributes" else f"s.{name}"
            changes = f"s.{name} IS NOT NULL AND (p.id IS NULL OR {new} IS DISTINCT FROM p.{name})"
            conditions.append(f"({changes}{deactivated})")
        return conditions, parameters


def _planned(key: int, action: str, version: int, sku: str, *values: Any) -> ChangeDocument:
    old, new = dict(zip(EDITABLE, values[:4], strict=True)), dict(zip(EDITABLE, values[4:], strict=True))
    old["attributes"], given = _json(old["attributes"]), _json(new["attributes"])
    if action == "deactivated":
        fields: dict[str, FieldChange] = {"status": {"old": "active", "new": "inactive"}}
    elif action == "created":
        new |= {"description": new["description"] or "", "status": new["status"] or "active"}
        new["attributes"] = {name: value for name, value in (given or {}).items() if value is not None}
        fields = {name: {"old": None, "new": new[name]} for name in EDITABLE}
    else:
        new["attributes"] = given
        fields = {
            name: {"old": old[name], "new": new[name]}
            for name in EDITABLE
            if new[name] is not None and new[name] != old[name]
        }
    line_number = key if key > 0 else None
    return {"key": key, "line_number": line_number, "sku": sku, "action": action, "version": version, "fields": fields}


def _json(value: Any) -> Any:
    """A raw cursor gives JSON as text."""
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class _AppliedChanges:
    import_: Import
    wanted: ChangeFilter

    def page(self, *, after: int | None, before: int | None, limit: int) -> list[ChangeDocument]:
        low, high = self.import_.changes_after or 0, self.import_.changes_until or 0
        backwards = before is not None
        if before is not None:
            high = min(high, before - 1)
        found: list[ProductChange] = []
        for above, up_to in stretches(max(low, after or 0), high, backwards=backwards):
            stretch = self._history().filter(id__gt=above, id__lte=up_to)
            found += stretch.order_by("-id" if backwards else "id")[: limit - len(found)]
            if len(found) == limit:
                break
        return [self._as_checked(change) for change in described(found[::-1] if backwards else found)]

    def _as_checked(self, change: ChangeDocument) -> ChangeDocument:
        """By the word that the check had for it: the history calls a product that the file lacks updated."""
        lacking = change["action"] == "updated" and change["line_number"] is None
        return {**change, "action": "deactivated"} if lacking and self.import_.mode == Import.Mode.SYNC else change

    def _history(self) -> QuerySet[ProductChange]:
        found = ProductChange.objects.filter(import_id=self.import_.pk)
        deactivated = Q(action="updated", line_number__isnull=True)
        if self.wanted.action == "deactivated":
            # An undo and a change of many have no lines, and deactivate nothing for want of one.
            found = found.filter(deactivated) if self.import_.mode == Import.Mode.SYNC else found.none()
        elif self.wanted.action:
            found = found.filter(action=self.wanted.action)
            if self.import_.mode == Import.Mode.SYNC:
                found = found.exclude(deactivated)
        if self.wanted.search:
            found = found.filter(sku__istartswith=self.wanted.search)
        if self.wanted.field:
            found = found.filter(Q(previous__has_key=self.wanted.field) | Q(action="created"))
        return found


def stretches(low: int, high: int, *, backwards: bool) -> Iterator[tuple[int, int]]:
    """The ids above `low` and up to `high` in parts, from one end or the other: the rows of an import lie together, and
    no index has them in order, so that a page would else be chosen from all of them. Each part is twice as long as the
    one before, since a filter may leave few."""
    length = STRETCH
    while low < high:
        above, up_to = (max(low, high - length), high) if backwards else (low, min(low + length, high))
        yield above, up_to
        low, high = (low, above) if backwards else (up_to, high)
        length *= 2


class SourceImport(TypedDict):
    """The import that made a change."""

    id: str
    file_name: str | None
    """Null where the one who asks may not see the import."""


class HistoryDocument(ChangeDocument):
    """One change of one product: what, by whom, and when. `key` orders a history, newest first."""

    changed_by: str | None
    changed_at: str
    source_import: SourceImport | None


@dataclass(frozen=True)
class History:
    """The changes of one product, newest first, a page at a time."""

    product_id: int
    visible: QuerySet[Import]
    """The imports of which more may be told than that they were it."""

    @classmethod
    def of_sku(cls, sku: str, visible: QuerySet[Import]) -> History:
        """Of the product with this sku or, where there is none now, of the last one that had it.
        Raises NotFoundError."""
        now = with_sku(sku).values_list("id", flat=True).first()
        if now is None:
            now = deleted_with_sku(sku).order_by("-id").values_list("product_id", flat=True).first()
        if now is None:
            raise NotFoundError(f"There is no product with the sku {sku!r}, and there was none.")
        return cls(now, visible)

    def page(self, *, after: int | None, before: int | None, limit: int) -> list[HistoryDocument]:
        """Up to `limit` changes: the first ones after a key, or the last ones before it. Keys are negative ids."""
        older_than = -after if after is not None else None
        newer_than = -before if before is not None else None
        backwards = newer_than is not None
        found = ProductChange.objects.of_product(
            self.product_id, older_than=older_than, newer_than=newer_than, newest_first=not backwards, limit=limit
        )
        return self._documents(list(found)[::-1] if backwards else list(found))

    def _documents(self, changes: list[ProductChange]) -> list[HistoryDocument]:
        actors = User.objects.in_bulk({change.actor_id for change in changes if change.actor_id})
        files = self.visible.in_bulk({change.import_id for change in changes if change.import_id})
        documents: list[HistoryDocument] = []
        for change, described_ in zip(changes, described(changes), strict=True):
            actor, file = actors.get(change.actor_id or 0), files.get(change.import_id)
            source: SourceImport | None = None
            if change.import_id:
                source = {"id": str(change.import_id), "file_name": file.file_name if file else None}
            documents.append(
                {
                    **described_,
                    "key": -change.id,
                    "changed_by": actor.get_username() if actor else None,
                    "changed_at": change.changed_at.isoformat(),
                    "source_import": source,
                }
            )
        return documents


def described(changes: Iterable[ProductChange]) -> list[ChangeDocument]:
    """These entries of the history with their new values: the history keeps the old ones only, so that a new one
    is found in the next change of its field or, where none came, in the product."""
    changes = list(changes)
    products = Product.objects.in_bulk({change.product_id for change in changes})
    later = _next_values(changes)
    return [_described(change, products.get(change.product_id), later.get(change.id, {})) for change in changes]


NEXT_VALUES = """
SELECT changed.id, changed.field,
       (SELECT later.previous -> changed.field
          FROM products_productchange AS later
         WHERE later.product_id = changed.product_id AND later.id > changed.id AND NOT later.action = 'created'
           AND later.previous -> changed.field IS NOT NULL
         ORDER BY later.id
         LIMIT 1)
  FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS changed (id, product_id, field)
"""
"""What a field became by a change, as the next change of it has it: what came between the two is read, and no more."""


def _next_values(changes: list[ProductChange]) -> dict[int, dict[str, Any]]:
    """id of a change -> the values after it, of the fields that were changed once more."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    # Of the fields that a change told alone: of one that nobody changed again, all that came after would be read.
    asked = [(change.id, change.product_id, name) for change in changes for name in _changed_to_something(change)]
    if asked:
        with connection.cursor() as cursor:
            cursor.execute(NEXT_VALUES, [list(column) for column in zip(*asked, strict=True)])
            for change_id, name, value in cursor.fetchall():
                if value is not None:
                    found[change_id][name] = _json(value)
    return found


def _changed_to_something(change: ProductChange) -> list[str]:
    """The fields that have a new value after it: all of a new product, none of one that is gone."""
    if change.action == ProductChange.Action.CREATED:
        return list(EDITABLE)
    return in_order(change.previous or {}) if change.action == ProductChange.Action.UPDATED else []


def _described(change: ProductChange, product: Product | None, later: Mapping[str, Any]) -> ChangeDocument:
    previous = change.previous or {}
    fields: dict[str, FieldChange]
    if change.action == ProductChange.Action.DELETED:
        fields = {name: {"old": previous.get(name), "new": None} for name in EDITABLE}
    else:
        fields = {
            name: {"old": previous.get(name), "new": later[name] if name in later else getattr(product, name, None)}
            for name in _changed_to_something(change)
        }
    return {
        "key": change.id,
        "line_number": change.line_number,
        "sku": change.sku,
        "action": str(change.action),
        "version": change.version,
        "fields": fields,
    }
