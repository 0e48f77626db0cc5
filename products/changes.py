"""What an import would change or has changed, and what changed in one product: field by field, old and new."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from django.db import ProgrammingError, connection
from django.db.models import Q, QuerySet
from psycopg.errors import UndefinedTable

from accounts.models import User
from common.errors import NotFoundError
from products.catalogue import deleted_with_sku, with_sku
from products.importing.stager import changes_table, staging_table
from products.importing.statements import statement
from products.models import Import, Product, ProductChange

FIELDS = ("name", "description", "status", "attributes")


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
    """created, updated, deactivated or deleted."""
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
    """One of FIELDS: only products in which it changes."""


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
            name = FIELDS[FIELDS.index(self.wanted.field)]
            deactivated = " OR c.action = 'deactivated'" if name == "status" else ""
            new = statement("new_attributes") if name == "attributes" else f"s.{name}"
            changes = f"s.{name} IS NOT NULL AND (p.id IS NULL OR {new} IS DISTINCT FROM p.{name})"
            conditions.append(f"({changes}{deactivated})")
        return conditions, parameters


def _planned(key: int, action: str, version: int, sku: str, *values: Any) -> ChangeDocument:
    old, new = dict(zip(FIELDS, values[:4], strict=True)), dict(zip(FIELDS, values[4:], strict=True))
    old["attributes"], given = _json(old["attributes"]), _json(new["attributes"])
    if action == "deactivated":
        fields: dict[str, FieldChange] = {"status": {"old": "active", "new": "inactive"}}
    elif action == "created":
        new |= {"description": new["description"] or "", "status": new["status"] or "active"}
        new["attributes"] = {name: value for name, value in (given or {}).items() if value is not None}
        fields = {name: {"old": None, "new": new[name]} for name in FIELDS}
    else:
        new["attributes"] = given
        fields = {
            name: {"old": old[name], "new": new[name]}
            for name in FIELDS
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
        found = self._history()
        if before is not None:
            changes = described(reversed(found.filter(id__lt=before).order_by("-id")[:limit]))
        else:
            changes = described(found.filter(id__gt=after or 0).order_by("id")[:limit])
        return [self._as_checked(change) for change in changes]

    def _as_checked(self, change: ChangeDocument) -> ChangeDocument:
        """By the word that the check had for it: the history calls a product that the file lacks updated."""
        lacking = change["action"] == "updated" and change["line_number"] is None
        return {**change, "action": "deactivated"} if lacking and self.import_.mode == Import.Mode.SYNC else change

    def _history(self) -> QuerySet[ProductChange]:
        if self.import_.changes_until is None:
            return ProductChange.objects.none()
        found = ProductChange.objects.filter(
            id__gt=self.import_.changes_after, id__lte=self.import_.changes_until, import_id=self.import_.pk
        )
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


def history_of(product_id: int, *, limit: int, before: int | None = None) -> list[ProductChange]:
    """The newest changes of one product, newest first, or the newest before an entry's id."""
    mine = ProductChange.objects.filter(product_id=product_id)
    if before is not None:
        mine = mine.filter(id__lt=before)
    # In two halves, for the two indexes.
    changes = list(mine.exclude(action="created").order_by("-id")[:limit])
    if len(changes) < limit:
        changes += mine.filter(action="created")
    return changes


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
        found = ProductChange.objects.of_product(self.product_id, older_than=older_than, newer_than=newer_than)
        changes = list(found.order_by("id" if newer_than is not None else "-id")[:limit])
        return self._documents(changes[::-1] if newer_than is not None else changes)

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
SELECT change.id, field.name,
       (SELECT later.previous -> field.name
          FROM products_productchange AS later
         WHERE later.product_id = change.product_id AND later.id > change.id AND NOT later.action = 'created'
           AND later.previous -> field.name IS NOT NULL
         ORDER BY later.id
         LIMIT 1)
  FROM unnest(%s::bigint[], %s::bigint[]) AS change (id, product_id), unnest(%s::text[]) AS field (name)
"""
"""What each field had become, by the next change of it: however many came after, one of each is read."""


def _next_values(changes: list[ProductChange]) -> dict[int, dict[str, Any]]:
    """id of a change -> the values after it, of the fields that were changed once more."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    if changes:
        ids, products = [change.id for change in changes], [change.product_id for change in changes]
        with connection.cursor() as cursor:
            cursor.execute(NEXT_VALUES, [ids, products, list(FIELDS)])
            for change_id, name, value in cursor.fetchall():
                if value is not None:
                    found[change_id][name] = _json(value)
    return found


def _described(change: ProductChange, product: Product | None, later: Mapping[str, Any]) -> ChangeDocument:
    def after(name: str) -> Any:
        return later[name] if name in later else getattr(product, name, None)

    previous = change.previous or {}
    action = str(change.action)
    if action == "created":
        fields: dict[str, FieldChange] = {name: {"old": None, "new": after(name)} for name in FIELDS}
    elif action == "deleted":
        fields = {name: {"old": previous.get(name), "new": None} for name in FIELDS}
    else:
        fields = {name: {"old": previous[name], "new": after(name)} for name in FIELDS if name in previous}
    return {
        "key": change.id,
        "line_number": change.line_number,
        "sku": change.sku,
        "action": action,
        "version": change.version,
        "fields": fields,
    }
