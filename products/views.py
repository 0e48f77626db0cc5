"""Pages for people: the list of imports, one import as it runs, and the upload form."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import person
from common.errors import ServiceError
from products import import_page, row_pages, upload_page
from products.change_pages import changes_context
from products.import_lists import list_context
from products.importing import columns
from products.importing.options import parse_format
from products.models import Import
from products.tasks import apply_import, cancel_import, read_again, undo_import

# --- the list ----------------------------------------------------------------------------------


@login_required
@never_cache
@require_GET
def import_list(request: HttpRequest) -> HttpResponse:
    """The imports that this person may see, newest first, narrowed by what the address says."""
    return render(request, "products/import_list.html", {"section": "imports", **list_context(request)})


# --- one import --------------------------------------------------------------------------------


@login_required
@never_cache
@require_GET
def import_detail(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """One import: how far it is, then what it came to."""
    import_ = visible_import(request, import_id)
    return render(
        request, "products/import_detail.html", {"section": "imports", **import_page.import_context(request, import_)}
    )


def visible_import(request: HttpRequest, import_id: uuid.UUID) -> Import:
    """The import of this id, or 404: what is not yours does not exist."""
    return get_object_or_404(Import.objects.visible_to(request.user).select_related("created_by"), pk=import_id)


@login_required
@never_cache
@require_GET
def import_changes(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """What an import changes or would change, product by product."""
    import_ = visible_import(request, import_id)
    context = {"section": "imports", "import": import_, "changes": changes_context(import_, request.GET.dict())}
    return render(request, "products/import_changes.html", context)


@login_required
@never_cache
@require_GET
def import_rows(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """The rows of a file of which there is more to say than that they were applied; perhaps of one cause only."""
    import_ = visible_import(request, import_id)
    context = {"section": "imports", "import": import_, **row_pages.rows_context(import_, request.GET.dict())}
    return render(request, "products/import_rows.html", context)


def steers(act: Callable[[HttpRequest, uuid.UUID], HttpResponse]) -> Callable[[HttpRequest, uuid.UUID], HttpResponse]:
    """A view that does something with an import. Who had to log in first comes back without what the form said: then
    nothing is done, and the page of the import has the button again."""

    @wraps(act)
    def view(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
        if request.method == "POST":
            return act(request, import_id)
        import_ = visible_import(request, import_id)
        messages.info(request, "Nothing was done yet. If you still want it, press the button again.")
        return redirect("import-detail", import_.pk)

    return login_required(require_http_methods(["GET", "HEAD", "POST"])(view))


@steers
def import_cancel(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """Ask for the end of an import; the worker stops between two chunks. What was only checked is discarded."""
    import_ = _import_to_steer(request, import_id)
    try:
        cancel_import(import_, user=person(request))
        messages.info(request, f"Cancelling {import_.file_name}. Nothing of it stays in the catalogue.")
    except ServiceError as error:
        messages.warning(request, error.detail)
    return _back(request, import_)


@steers
def import_apply(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """Apply what was checked. What takes more products away than the import may needs its box ticked."""
    import_ = _import_to_steer(request, import_id)
    agreed = request.POST.get("deactivate") == str(import_.products_deactivated)
    if import_.phase == Import.Phase.CHECKED and import_page.Decision.on(import_).over_limit and not agreed:
        messages.warning(request, "Nothing was applied: tick the box that says how many products become inactive.")
        return _back(request, import_)
    try:
        apply_import(import_, user=person(request), max_deactivated="none" if agreed else "")
    except ServiceError as error:
        messages.warning(request, error.detail)
    return _back(request, import_)


@steers
def import_undo(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """Take back what an import did; goes on to the undo."""
    import_ = _import_to_steer(request, import_id)
    try:
        return _back(request, undo_import(import_, user=person(request)))
    except ServiceError as error:
        messages.warning(request, error.detail)
        return _back(request, import_)


@steers
def import_read_again(request: HttpRequest, import_id: uuid.UUID) -> HttpResponse:
    """Check the same file once more, read in another way; goes on to the new import."""
    import_ = _import_to_steer(request, import_id)
    try:
        file_format = parse_format(request.POST.dict())
        return _back(request, read_again(import_, file_format, user=person(request)))
    except ServiceError as error:
        messages.warning(request, error.detail)
        return _back(request, import_)


def _import_to_steer(request: HttpRequest, import_id: uuid.UUID) -> Import:
    """The import of this id, for somebody who may do something with it."""
    import_ = visible_import(request, import_id)
    if not import_page.may_import(request):
        raise PermissionDenied("You may not start, apply, undo or cancel imports.")
    return import_


def _back(request: HttpRequest, import_: Import) -> HttpResponse:
    """To the page of this import: inside the admin for those who came from there."""
    came_from = _next(request)
    if came_from and came_from.startswith(reverse("admin:products_import_changelist")):
        return redirect("admin:products_import_change", import_.pk)
    return redirect("import-detail", import_.pk)


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
    return upload_page.upload(request, "products/import_new.html", {"section": "upload"}, then="import-detail")


@login_required
@require_GET
def template_csv(request: HttpRequest) -> HttpResponse:
    """A file to start from: every column, and one product."""
    headers = {"Content-Disposition": 'attachment; filename="products.csv"'}
    return HttpResponse(columns.template_csv(), content_type="text/csv; charset=utf-8", headers=headers)
