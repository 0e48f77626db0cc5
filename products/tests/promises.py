"""What the documents promise of the catalogue, in plain Python: no database, no request, and nothing of the code.

Written from docs/import-format.md, docs/api.md, docs/webhooks.md and docs/decisions; `test_promises` holds the
service against it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

Fields = dict[str, Any]

FIELDS = ("name", "description", "status", "attributes")
DEFAULTS: Fields = {"description": "", "status": "active", "attributes": {}}
STATUSES = {"active": "active", "YES": "active", "inactive": "inactive", "0": "inactive"}
"""Words for a status; docs/import-format.md has the others."""
CONTROL = "\a"
"""A character that no cell may have."""


def spelt(sku: str) -> str:
    """A sku as it is stored."""
    return normalize("NFC", sku.strip())


def key(sku: str) -> str:
    """Two skus with the same key are the same."""
    return spelt(sku).lower()


def same(one: object, other: object) -> bool:
    """As JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# --- products and their history ----------------------------------------------------------------


@dataclass(eq=False)
class Product:
    """One product, also when it is gone."""

    sku: str
    history: list[Change] = field(default_factory=list)
    id: int | None = None
    """As the service calls it; known once it was seen there."""

    @property
    def fields(self) -> Fields | None:
        """None: it is gone."""
        return self.history[-1].after if self.history else None

    @property
    def version(self) -> int:
        return self.history[-1].version if self.history else 0


@dataclass(eq=False)
class Change:
    """One change of one product."""

    product: Product
    before: Fields | None
    after: Fields | None
    version: int
    line: int | None
    takes_back: Change | None
    id: int | None = None
    """As the service calls it; known once it was seen there."""
    import_id: Any = None
    actor: str | None = None

    @property
    def action(self) -> str:
        return "created" if self.before is None else "deleted" if self.after is None else "updated"

    @property
    def changed_fields(self) -> list[str]:
        """Of an update; of a creation and a deletion the action says it all."""
        before, after = self.before, self.after
        if before is None or after is None:
            return []
        return [name for name in FIELDS if not same(before[name], after[name])]

    @property
    def previous(self) -> Fields:
        """What the history keeps."""
        if self.before is None or self.after is None:
            return self.before or {}
        return {name: self.before[name] for name in self.changed_fields}

    @property
    def imports_in_a_row(self) -> list[Change]:
        """Of its product: the changes that took one another back, or this one alone."""
        first: Change = self
        while first.takes_back is not None:
            first = first.takes_back
        row = [first]
        row += (change for change in self.product.history if change.takes_back in row)
        return row

    @property
    def nothing_since(self) -> bool:
        """Whether nothing that came later stands: what was taken back doesn't count, nor does what took it back, nor
        what came to nothing since."""
        later = self.product.history[self.product.history.index(self) + 1 :]
        rows = [change.imports_in_a_row for change in later]
        return all(len(row) % 2 == 0 or sum(change in later for change in row) % 2 == 0 for row in rows)


class Catalogue:
    """The products that there are, by the keys of their skus."""

    def __init__(self) -> None:
        self.products: dict[str, Product] = {}
        self.gone: list[Product] = []

    def find(self, sku: str) -> Product | None:
        return self.products.get(key(sku))

    def create(self, sku: str, fields: Mapping[str, Any], *, line: int | None = None) -> Change:
        return self._write(Product(spelt(sku)), {**DEFAULTS, **fields}, line=line)

    def update(self, product: Product, fields: Mapping[str, Any], *, line: int | None = None) -> Change | None:
        """None where that changes nothing."""
        after = {**(product.fields or {}), **fields}
        return None if same(after, product.fields) else self._write(product, after, line=line)

    def delete(self, product: Product) -> Change:
        return self._write(product, None)

    def undo(self, changes: Iterable[Change]) -> tuple[list[Change], list[str]]:
        """Take these back: the changes that this makes, and why others are kept."""
        made: list[Change] = []
        kept: list[str] = []
        for change in changes:
            product = change.product
            if change.action == "deleted" and key(product.sku) in self.products:
                kept.append("sku_taken")
            elif change.action != "deleted" and (product.fields is None or not change.nothing_since):
                kept.append("edited_since")
            else:
                # What a deletion brings back has no line of the file.
                line = change.line if change.before is None or change.after is not None else None
                # Of an update, only what it changed is set back: what else came and went since stays as it is.
                updated = change.action == "updated"
                after = {**(product.fields or {}), **change.previous} if updated else change.before
                made.append(self._write(product, after, line=line, takes_back=change))
        return made, kept

    def bulk(self, items: Sequence[Mapping[str, Any]], *, atomic: bool) -> tuple[list[str], list[Change]]:
        """What comes of each item, and the changes that are made. An atomic one that is refused changes nothing."""
        outcomes = [self._outcome(item, [key(each["sku"]) for each in items]) for item in items]
        if atomic and {"conflict", "invalid"} & set(outcomes):
            return outcomes, []
        made = [self._carry_out(item) if outcome == "" else None for item, outcome in zip(items, outcomes, strict=True)]
        told = [
            outcome or (change.action if change else "unchanged")
            for outcome, change in zip(outcomes, made, strict=True)
        ]
        return told, [change for change in made if change]

    def _outcome(self, item: Mapping[str, Any], skus: Sequence[str]) -> str:
        """Why nothing is to be written for an item of a bulk write; empty if something is."""
        product = self.find(item["sku"])
        if skus.count(key(item["sku"])) > 1 or not item.get("name", "some").strip():
            return "invalid"
        if item["action"] == "delete" and product is None:
            return "not_found"
        if item.get("if_version", product.version if product else 0) != (product.version if product else 0):
            return "conflict"
        return "invalid" if product is None and "name" not in item else ""

    def _carry_out(self, item: Mapping[str, Any]) -> Change | None:
        product = self.find(item["sku"])
        fields = {name: item[name].strip() if name == "name" else item[name] for name in FIELDS if name in item}
        if product is None:
            return self.create(item["sku"], fields)
        return self.delete(product) if item["action"] == "delete" else self.update(product, fields)

    def _write(
        self, product: Product, after: Fields | None, *, line: int | None = None, takes_back: Change | None = None
    ) -> Change:
        change = Change(product, product.fields, after, product.version + 1, line, takes_back)
        product.history.append(change)
        if after is None:
            self.gone.append(self.products.pop(key(product.sku)))
        else:
            self.products[key(product.sku)] = product
        return change


# --- files -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A file of products: columns by their own names, and rows of cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()


@dataclass
class Row:
    """What one row of a file says."""

    line: int
    sku: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    repaired: str = ""
    """The code of what was put right."""
    errors: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Step:
    """What a file does to one product."""

    line: int | None
    sku: str
    action: str
    product: Product | None
    """None: it is still to be created."""
    version: int
    fields: Fields

    def shown(self) -> tuple[Any, ...]:
        """As a check shows it: line, sku, action, version after it, and of each field that changes the old and the new
        value."""
        old: Fields = (self.product and self.product.fields) or dict.fromkeys(FIELDS)
        new = {**(DEFAULTS if self.product is None else old), **self.fields}
        changes = {name: (old[name], new[name]) for name in FIELDS if not same(old[name], new[name])}
        return self.line, self.sku, self.action, self.version, changes


REJECTED_BY_CATALOGUE = {"name_missing", "product_exists", "product_unknown"}
"""Codes of rows that are good in themselves."""


@dataclass
class Plan:
    """What a file comes to, by the catalogue as it is."""

    read: int = 0
    unchanged: int = 0
    steps: list[Step] = field(default_factory=list)
    rejected: dict[int, set[str]] = field(default_factory=dict)
    """line -> codes"""
    duplicate: set[int] = field(default_factory=set)
    repaired: dict[int, str] = field(default_factory=dict)
    active: int = 0
    """Products, in mode sync, before those that the file lacks become inactive."""

    @property
    def products(self) -> list[Product]:
        """Those that are there already and are to be changed."""
        return [step.product for step in self.steps if step.product]

    def number(self, action: str) -> int:
        return sum(step.action == action for step in self.steps)

    def counts(self) -> dict[str, int]:
        return {
            "rows_read": self.read,
            "rows_created": self.number("created"),
            "rows_updated": self.number("updated"),
            "rows_unchanged": self.unchanged,
            "rows_rejected": len(self.rejected),
            "rows_duplicate": len(self.duplicate),
            "rows_repaired": len(self.repaired),
            "products_deactivated": self.number("deactivated"),
        }

    @property
    def rows_kept(self) -> int:
        """How many rows a check keeps, to be applied."""
        bad = sum(not codes & REJECTED_BY_CATALOGUE for codes in self.rejected.values())
        return self.read - len(self.duplicate) - bad

    def failures(self, options: Mapping[str, str], *, applied: bool) -> set[str]:
        """The codes with which the import may end, if it does not succeed."""
        codes = set()
        if exceeded(options.get("max_rejects", "100,10%"), len(self.rejected), self.read):
            codes.add("too_many_rejects")
        if options.get("on_error") == "abort" and self.rejected:
            codes.add("rows_rejected")
        if applied and exceeded(options.get("max_deactivated", "10%"), self.number("deactivated"), self.active):
            codes.add("too_many_deactivated")
        return codes

    def list_of_changes(self) -> list[tuple[Any, ...]]:
        """What must be the same for a check to be applied."""
        return [(step.line, step.product, step.action, step.version) for step in self.steps]

    def apply(self, catalogue: Catalogue) -> list[Change]:
        made = [
            catalogue.create(step.sku, step.fields, line=step.line)
            if step.product is None
            else catalogue.update(step.product, step.fields, line=step.line)
            for step in self.steps
        ]
        return [change for change in made if change is not None]


def exceeded(limit: str, number: int, of: int) -> bool:
    """Whether this is more than the limit: a number, a share, both, or none."""
    if limit == "none":
        return False
    parts = limit.split(",")
    return all(number > (of * float(part[:-1]) / 100 if part.endswith("%") else int(part)) for part in parts)


def planned(table: Table, options: Mapping[str, str], catalogue: Catalogue) -> Plan:
    """What the file would do to the catalogue."""
    rows = [_row(line, cells, table.header) for line, cells in enumerate(table.rows, start=2)]
    plan = Plan(read=len(rows), repaired={row.line: row.repaired for row in rows if row.repaired and not row.errors})
    plan.rejected = {row.line: row.errors for row in rows if row.errors}
    by_sku: dict[str, list[Row]] = {}
    for row in rows:
        if not row.errors:
            by_sku.setdefault(key(row.sku), []).append(row)
    for lines in by_sku.values():
        row = lines[0] if options.get("duplicates") == "first" else lines[-1]
        others = {each.line for each in lines if each is not row}
        if others and options.get("duplicates") == "reject":
            plan.rejected |= {line: {"duplicate_sku"} for line in (row.line, *others)}
            continue
        plan.duplicate |= others
        _plan_row(plan, row, options, catalogue)
    void = plan.rejected.keys() | plan.duplicate
    plan.repaired = {line: code for line, code in plan.repaired.items() if line not in void}
    if options.get("mode") == "sync":
        _plan_missing(plan, {key(row.sku) for row in rows}, catalogue)
    return plan


def _row(line: int, cells: Sequence[str], header: Sequence[str]) -> Row:
    width, surplus = len(header), cells[len(header) :]
    repaired = "surplus_cells_dropped" if surplus else ""
    if len(cells) == 1 and len(within := next(csv.reader([cells[0]]), [])) == width:
        cells, repaired = within, "row_unwrapped"
    row = Row(line, cells[header.index("sku")] if header.index("sku") < len(cells) else "")
    if len(cells) < width or any(surplus):
        row.errors = {"too_few_cells" if len(cells) < width else "too_many_cells"}
        return row
    if all(cell == name for cell, name in zip(cells, header, strict=False) if name not in ("_line", "_error")):
        row.errors = {"header_repeated"}
        return row
    row.repaired = repaired
    row.cells = dict(zip(header, cells, strict=False))
    if not row.sku.strip():
        row.errors.add("sku_missing")
    if any(CONTROL in cell for cell in row.cells.values()):
        row.errors.add("control_character")
    if row.cells.get("status", "") not in ("", *STATUSES):
        row.errors.add("unknown_status")
    return row


def _plan_row(plan: Plan, row: Row, options: Mapping[str, str], catalogue: Catalogue) -> None:
    mode, product = options.get("mode", "upsert"), catalogue.find(row.sku)
    fields = _fields(row, (product and product.fields) or DEFAULTS, clear=options.get("empty_cells") == "clear")
    if product is None and mode == "update":
        plan.rejected[row.line] = {"product_unknown"}
    elif product is None and "name" not in fields:
        plan.rejected[row.line] = {"name_missing"}
    elif product is None:
        plan.steps.append(Step(row.line, spelt(row.sku), "created", None, 1, fields))
    elif mode == "create":
        plan.rejected[row.line] = {"product_exists"}
    elif same({**(product.fields or {}), **fields}, product.fields):
        plan.unchanged += 1
    else:
        plan.steps.append(Step(row.line, product.sku, "updated", product, product.version + 1, fields))


def _plan_missing(plan: Plan, in_file: set[str], catalogue: Catalogue) -> None:
    """In mode sync: the active products that the file lacks. One whose row is wrong is in the file all the same."""
    after = {name: product.fields or {} for name, product in catalogue.products.items()}
    after |= {key(step.sku): {**after.get(key(step.sku), DEFAULTS), **step.fields} for step in plan.steps}
    active = [name for name, fields in after.items() if fields["status"] == "active"]
    plan.active = len(active)
    for name in active:
        if name not in in_file:
            product = catalogue.products[name]
            step = Step(None, product.sku, "deactivated", product, product.version + 1, {"status": "inactive"})
            plan.steps.append(step)


def _fields(row: Row, stored: Fields, *, clear: bool) -> Fields:
    """What a good row says of its product; what is not there is left alone."""
    fields: Fields = {}
    attributes = dict(stored["attributes"])
    for column, cell in row.cells.items():
        if column == "name" and cell.strip():
            fields["name"] = normalize("NFC", cell.strip())
        elif column == "status" and cell:
            fields["status"] = STATUSES[cell]
        elif column == "description" and (cell or clear):
            fields["description"] = cell
        elif column.startswith("attributes."):
            _set_attribute(attributes, column.removeprefix("attributes."), cell, clear=clear)
    if not same(attributes, stored["attributes"]):
        fields["attributes"] = attributes
    return fields


def _set_attribute(attributes: Fields, name: str, cell: str, *, clear: bool) -> None:
    """A cell that says what is stored leaves it alone; another one becomes a value of the same type, or a text. No cell
    says null or an empty text."""
    stored = attributes.get(name)
    if not cell:
        if clear and stored not in (None, ""):
            del attributes[name]
    elif stored is None or isinstance(stored, str):
        attributes[name] = cell
    else:
        attributes[name] = _read_as(cell, stored)


def _read_as(cell: str, stored: object) -> object:
    """The cell as a value of the type of what is stored, if it is one."""
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return value if _kind(value) == _kind(stored) else cell


def _kind(value: object) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
