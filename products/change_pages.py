"""The changes of an import, a page at a time, with old and new value side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from common.parameters import whole_number
from products.changes import Action, ChangeDocument, ChangeFilter, changes_of
from products.models import Import
from products.models.catalogue import EDITABLE

CHANGES_A_PAGE = 25
LONGEST_VALUE = 400
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Difference:
    """A field before and after. What both begin and end with is `before` and `after` the differing part."""

    field: str
    old: str | None
    """The differing part; None where there was no value."""
    new: str | None
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Change:
    """A product that changes."""

    sku: str
    action: str
    line_number: int | None
    differences: list[Difference]


def changes_context(import_: Import, query: Mapping[str, str], *, limit: int = CHANGES_A_PAGE) -> dict[str, Any]:
    """What `products/changes.html` shows: one page, and the ways to the others. What `query` has wrong is ignored."""
    wanted = ChangeFilter(
        action=_one_of(Action.values, query.get("action")),
        search=query.get("search", "").strip().replace("\0", "")[:100],
        field=_one_of(EDITABLE, query.get("field")),
    )
    after, before = _number(query.get("after")), _number(query.get("before"))
    if before is not None:
        after = None
    found = changes_of(import_, wanted).page(after=after, before=before, limit=limit + 1)
    more = len(found) > limit
    page = found[-limit:] if before is not None else found[:limit]
    has_previous = more if before is not None else after is not None
    has_next = bool(page) and (before is not None or more)
    filters = {"action": wanted.action, "field": wanted.field, "search": wanted.search}
    filters = {name: value for name, value in filters.items() if value}
    return {
        "import_id": import_.pk,
        "planned": import_.staged_attempt is not None,
        "wanted": wanted,
        "filtered": bool(filters),
        "actions": _actions(import_),
        "fields": EDITABLE,
        "rows": [_change(each) for each in page],
        "previous": urlencode({**filters, "before": page[0]["key"]}) if page and has_previous else "",
        "next": urlencode({**filters, "after": page[-1]["key"]}) if has_next else "",
        "first": urlencode(filters),
    }


def _one_of(choices: Sequence[str], text: str | None) -> str:
    return text if text and text in choices else ""


def _number(text: str | None) -> int | None:
    number = whole_number((text or "").removeprefix("-"))
    return -number if number and text and text.startswith("-") else number


def _actions(import_: Import) -> list[tuple[str, int]]:
    """Those there are, with their numbers."""
    numbers = {
        "created": import_.rows_created,
        "updated": import_.rows_updated,
        "deactivated": import_.products_deactivated,
        "deleted": import_.rows_deleted,
    }
    return [(action, number) for action, number in numbers.items() if number]


# --- old and new ---------------------------------------------------------------------------------


def _change(document: ChangeDocument) -> Change:
    differences: list[Difference] = []
    for name, values in document["fields"].items():
        if name == "attributes":
            differences += _attributes(values["old"], values["new"])
        elif values["old"] or values["new"]:
            differences.append(difference(name, _text(values["old"]), _text(values["new"])))
    return Change(document["sku"], document["action"], document["line_number"], differences)


def _attributes(old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[Difference]:
    """The attributes that differ, each as a field of its own."""
    before, after = old or {}, new or {}
    return [
        difference(f"attributes.{name}", _text(before.get(name)), _text(after.get(name)))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def difference(field: str, old: str | None, new: str | None) -> Difference:
    """Old and new without what they begin and end with in common: that is shown once more beside each, unmarked."""
    if not old or not new:
        return Difference(field, _short(old or None), _short(new or None))
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    head, tail = old[:start], old[len(old) - end :] if end else ""
    if len(head) > 60:
        head = "…" + head[-59:]
    if len(tail) > 60:
        tail = tail[:59] + "…"
    return Difference(field, _short(old[start : len(old) - end]), _short(new[start : len(new) - end]), head, tail)


def _common(one: str, other: str) -> int:
    """How many characters both begin with, up to the end of a word: half a number says nothing."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    while length and _is_within_word(one, length) | _is_within_word(other, length):
        length -= 1
    return length


def _is_within_word(text: str, position: int) -> bool:
    return text[position - 1].isalnum() and text[position : position + 1].isalnum()


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
