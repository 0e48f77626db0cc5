"""The history of one product as its page shows it: what changed from what to what, when, by whom, from where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.urls import reverse

from products.changes import described
from products.models import Import, ProductChange

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User

SHOWN = 20
LONGEST = 200


def timeline(product_id: int, user: User | AnonymousUser, *, before: int | None = None) -> dict[str, Any]:
    """The newest changes, or the newest before an entry's id, and where the next ones are. Of the imports that made
    them, those are named that this person may see."""
    found = list(ProductChange.objects.of_product(product_id, older_than=before, newest_first=True, limit=SHOWN + 1))
    changes = found[:SHOWN]
    people = get_user_model().objects.in_bulk({change.actor_id for change in changes if change.actor_id})
    seen = Import.objects.visible_to(user)
    files = seen.in_bulk({change.import_id for change in changes if change.import_id})
    entries = [
        {
            "change": change,
            "who": people.get(change.actor_id or 0),
            "source": files.get(change.import_id) if change.import_id else None,
            "fields": _fields(document["fields"], created=change.action == "created"),
        }
        for change, document in zip(changes, described(changes), strict=True)
    ]
    older = reverse("admin:products_product_older", args=[product_id]) + f"?before={changes[-1].pk}" if changes else ""
    return {"entries": entries, "older": older if len(found) > SHOWN else "", "first_page": before is None}


def _fields(fields: Any, *, created: bool) -> list[dict[str, str]]:
    """Name, old and new of each field; attributes one by one, those alone that differ."""
    shown = []
    for name, pair in fields.items():
        old, new = pair["old"], pair["new"]
        if name == "attributes" and not isinstance(old or {}, str):
            shown += _attributes(old or {}, new or {})
        elif not (created and new in ("", None)):
            shown.append({"name": name, "old": _text(old), "new": _text(new)})
    return shown


def _attributes(old: Any, new: Any) -> list[dict[str, str]]:
    return [
        {"name": name, "old": _text(old.get(name)), "new": _text(new.get(name))}
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
