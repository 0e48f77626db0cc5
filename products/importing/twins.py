"""The same file, imported before."""

from __future__ import annotations

from products.models import Import


def earlier(import_: Import) -> Import | None:
    """The newest import before this one that applied a file with the same content and was not undone."""
    if import_.kind != Import.Kind.FILE or not import_.sha256:
        return None
    same = Import.objects.filter(sha256=import_.sha256, kind=Import.Kind.FILE, state=Import.State.SUCCESS)
    return same.filter(pk__lt=import_.pk, undone_by=None).order_by("-pk").first()
