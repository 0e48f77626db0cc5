"""The same file, imported before: told to whoever is about to import it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from products.models import Import

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


def earlier(import_: Import, user: User | AnonymousUser) -> Import | None:
    """The last import before this one whose file had the same bytes, of those that were applied, are not undone
    and that this person may see; None if there is none. With its `created_by`, by one look into an index."""
    if not import_.sha256:
        return None
    before = Import.objects.visible_to(user).filter(
        sha256=import_.sha256,
        kind=Import.Kind.FILE,
        state=Import.State.SUCCESS,
        undone_by__isnull=True,
        created_at__lt=import_.created_at,
    )
    return before.select_related("created_by").order_by("-finished_at").first()
