"""The list of imports: who sees which, what it can be narrowed by, a page at a time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest

from accounts import access
from products.models import Import
from products.models.imports import ImportQuerySet

IMPORTS_A_PAGE = 50


@dataclass(frozen=True)
class ListFilter:
    """What the list is narrowed by; empty strings narrow nothing. What makes no sense is left out."""

    state: str = ""
    kind: str = ""
    who: str = ""
    """Part of a user name."""
    file: str = ""
    """Part of a file's name."""
    since: str = ""
    until: str = ""
    """Days, as 2026-11-25, both included, in UTC."""

    @classmethod
    def of(cls, request: HttpRequest) -> ListFilter:
        def text(name: str) -> str:
            return request.GET.get(name, "").replace("\0", "").strip()[:200]

        return cls(
            state=text("state") if text("state") in Import.Standing.values else "",
            kind=text("kind") if text("kind") in Import.Kind.values else "",
            who=text("who") if access.may_see_all_imports(request.user) else "",
            file=text("file"),
            since=text("since") if _day(text("since")) else "",
            until=text("until") if _day(text("until")) else "",
        )

    def narrow(self, imports: ImportQuerySet) -> ImportQuerySet:
        if self.state:
            imports = imports.standing(self.state)
        if self.kind:
            imports = imports.filter(kind=self.kind)
        if self.who:
            imports = imports.filter(created_by__username__icontains=self.who)
        if self.file:
            imports = imports.filter(file_name__icontains=self.file)
        if since := _day(self.since):
            imports = imports.filter(created_at__date__gte=since)
        if until := _day(self.until):
            imports = imports.filter(created_at__date__lt=until + timedelta(days=1))
        return imports

    def as_query(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value}


def list_context(request: HttpRequest) -> dict[str, Any]:
    """What `products/import_list.html` shows; `?before=<id>` turns the page."""
    wanted = ListFilter.of(request)
    imports = wanted.narrow(Import.objects.visible_to(request.user)).select_related("created_by")
    before = _uuid(request.GET.get("before"))
    if before:
        imports = imports.filter(pk__lt=before)
    rows = list(imports.order_by("-pk")[: IMPORTS_A_PAGE + 1])
    shown = rows[:IMPORTS_A_PAGE]
    query = wanted.as_query()
    more = len(rows) > IMPORTS_A_PAGE
    return {
        "imports": shown,
        "wanted": wanted,
        "filtered": bool(query),
        "states": Import.Standing.choices,
        "kinds": Import.Kind.choices,
        "older": urlencode({**query, "before": shown[-1].pk}) if more else "",
        "newest": urlencode(query) if before is not None else None,
        "running": any(not row.finished and row.phase != Import.Phase.CHECKED for row in shown),
        "show_who": access.may_see_all_imports(request.user),
    }


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None
