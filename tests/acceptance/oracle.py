"""What the catalogue must hold: the rules of an import once more, one row at a time, in plain Python.

It shares no code with the service, so that a mistake there is not made here too.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

STATUSES = {"active": "active", "inactive": "inactive", "": ""}
LONGEST_SKU = 100


class Row(NamedTuple):
    """One product of the catalogue."""

    sku: str
    name: str
    description: str
    status: str
    version: int


class Change(NamedTuple):
    """One entry of the history."""

    sku: str
    version: int
    action: str
    previous: dict[str, Any] | None
    import_id: str
    line_number: int


@dataclass
class Oracle:
    """The catalogue after some files, applied one after the other."""

    products: dict[str, Row] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)

    def apply(self, import_id: str, text: str) -> Counter[str]:
        """Upsert the file `text`, of the columns sku, name, description, status. Returns its counts by name."""
        counts: Counter[str] = Counter()
        lines = csv.reader(io.StringIO(text))
        next(lines)
        counting: dict[str, tuple[int, list[str]]] = {}
        for cells in lines:
            counts["rows_read"] += 1
            if not self._possible(cells):
                counts["rows_rejected"] += 1
                continue
            key = cells[0].strip().lower()
            counts["rows_duplicate"] += key in counting
            counting[key] = (lines.line_num, cells)
        for key, (line_number, cells) in counting.items():
            counts[self._upsert(key, line_number, cells, import_id)] += 1
        return counts

    def undo(self, import_id: str, undoes: str) -> Counter[str]:
        """Take back what the import `undoes` did to products that nobody has changed since. Returns its counts."""
        counts: Counter[str] = Counter()
        for change in [change for change in self.history if change.import_id == undoes]:
            counts["rows_read"] += 1
            key = change.sku.lower()
            product = self.products.get(key)
            if product is None or product.version != change.version:
                counts["rows_rejected"] += 1
            elif change.action == "created":
                counts["rows_deleted"] += 1
                self._remove(key, change.line_number, import_id)
            else:
                counts["rows_updated"] += 1
                self._restore(key, change, import_id)
        return counts

    def _remove(self, key: str, line_number: int, import_id: str) -> None:
        product = self.products.pop(key)
        previous = product._replace(version=0)._asdict()
        self.history.append(Change(product.sku, product.version + 1, "deleted", previous, import_id, line_number))

    def _restore(self, key: str, change: Change, import_id: str) -> None:
        product = self.products[key]
        previous = {column: getattr(product, column) for column in change.previous or {}}
        new = product._replace(**change.previous or {}, version=product.version + 1)
        self.products[key] = new
        self.history.append(Change(new.sku, new.version, "updated", previous, import_id, change.line_number))

    def _possible(self, cells: list[str]) -> bool:
        return len(cells) == 4 and 0 < len(cells[0].strip()) <= LONGEST_SKU and cells[3] in STATUSES

    def _upsert(self, key: str, line_number: int, cells: list[str], import_id: str) -> str:
        sku, name, description, status = cells
        old = self.products.get(key)
        if old is None:
            if not name:
                return "rows_rejected"
            self.products[key] = Row(sku.strip(), name, description, status or "active", 1)
            self.history.append(Change(sku.strip(), 1, "created", None, import_id, line_number))
            return "rows_created"
        given = {"name": name, "description": description, "status": status}
        changed = {column: text for column, text in given.items() if text and text != getattr(old, column)}
        if not changed:
            return "rows_unchanged"
        new = old._replace(**changed, version=old.version + 1)
        self.products[key] = new
        previous = {column: getattr(old, column) for column in changed}
        self.history.append(Change(new.sku, new.version, "updated", previous, import_id, line_number))
        return "rows_updated"
