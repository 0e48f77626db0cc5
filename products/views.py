"""Pages for people: the list of imports, one import as it runs, and the upload form."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from accounts import access
from common.errors import ServiceError
from products import pages
from products.importing import columns, lease
from products.models import Import

IMPORTS_A_PAGE = 50


# --- the list ----------------------------------------------------------------------------------


@login_required
@never_cache
@require_GET
def import_list(request: HttpRequest) -> HttpResponse:
    """The imports that this person may see, newest first; `?before=<id>` turns the page."""
    imports = Import.objects.visible_to(request.user).select_related("created_by")
    before = _uuid(request.GET.get("before"))
    if before:
        imports = imports.filter(pk__lt=before)
    rows = list(imports.order_by("-pk")[: IMPORTS_A_PAGE + 1])
    shown = rows[:IMPORTS_A_PAGE]
    context = {
        "section": "imports",
        "imports": shown,
        "older": shown[-1].pk if len(rows) > IMPORTS_A_PAGE else None,
        "newest": before is not None,
        "running": any(not row.finished for row in shown),
        "show_who": access.may_see_all_imports(request.user),
    }
    return render(request, "products/import_list.html", context)


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None


# --- one import --------------------------------------------------------------------------------


@login_required
@never_cache
@require_GET
def import_detail(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """One import: how far it is, then what it came to."""
    import_ = visible_import(request, import_id)
    return render(
        request, "products/import_detail.html", {"section": "imports", **pages.import_context(request, import_)}
    )


def visible_import(request: HttpRequest, import_id: uuid.UUID) -> Import:
    """The import of this id, or 404: what is not yours does not exist."""
    return get_object_or_404(Import.objects.visible_to(request.user).select_related("created_by"), pk=import_id)


@login_required
@require_POST
def import_cancel(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """Ask for the end of an import; the worker stops between two chunks."""
    import_ = visible_import(request, import_id)
    if not pages.may_import(request):
        raise PermissionDenied("You may not cancel imports.")
    try:
        lease.request_cancel(import_)
        messages.info(request, f"Cancelling {import_.file_name}. Nothing of it stays in the catalogue.")
    except ServiceError as error:
        messages.warning(request, error.detail)
    return redirect(_next(request) or reverse("import-detail", args=[import_.pk]))


def _next(request: HttpRequest) -> str | None:
    """Where the form wants to go on, if that is one of our own pages."""
    target = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if target and ours else None


# --- the upload --------------------------------------------------------------------------------


@csrf_exempt  # `upload` checks the token, once it is known that the body may be read at all
@login_required
@permission_required("products.add_import", raise_exception=True)
@never_cache
def import_new(request: HttpRequest) -> HttpResponse:
    """The upload form, and the upload itself: a plain multipart POST."""
    return pages.upload(request, "products/import_new.html", {"section": "upload"}, then="import-detail")


@login_required
@require_GET
def template_csv(request: HttpRequest) -> HttpResponse:
    """A file to start from: every column, and one product."""
    headers = {"Content-Disposition": 'attachment; filename="products.csv"'}
    return HttpResponse(columns.template_csv(), content_type="text/csv; charset=utf-8", headers=headers)
