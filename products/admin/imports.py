"""Imports in the admin: watched, cancelled, applied and undone, never edited."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt

from accounts.access import person
from common.counting import EstimatingPaginator
from common.errors import ServiceError
from common.moments import moment
from products import import_page, upload_page
from products.models import Import
from products.tasks import cancel_import
from products.templatetags.figures import duration, grouped, took

if TYPE_CHECKING:
    ImportAdminBase = admin.ModelAdmin[Import]
else:
    ImportAdminBase = admin.ModelAdmin

KINDS = {Import.Kind.FILE: "File", Import.Kind.UNDO: "Undo", Import.Kind.BULK: "Many products"}
PERIODS = {"1": "Today", "7": "Last 7 days", "30": "Last 30 days"}


class PeriodFilter(admin.SimpleListFilter):
    title = "when"
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(PERIODS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Import]) -> QuerySet[Import]:
        if self.value() not in PERIODS:
            return queryset
        midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return queryset.filter(created_at__gte=midnight - timedelta(days=int(self.value() or 1) - 1))


class StandingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Import.Standing.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Import]) -> QuerySet[Import]:
        if self.value() not in Import.Standing.values:
            return queryset
        imports: Any = queryset
        return imports.standing(self.value())  # type: ignore[no-any-return]


@admin.register(Import)
class ImportAdmin(ImportAdminBase):
    """Read-only: an import is made by an upload and changed by its worker."""

    list_display = (
        "file_name",
        "shown_state",
        "shown_kind",
        "who",
        "uploaded",
        "rows",
        "created",
        "updated",
        "rejected",
        "duration",
    )
    list_display_links = ("file_name",)
    list_filter = (StandingFilter, PeriodFilter, "kind", ("created_by", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("created_by",)
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("file_name",)
    search_help_text = "Part of the file's name."
    actions = ("cancel",)

    def has_change_permission(self, request: HttpRequest, obj: Import | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Import | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        # `upload_page.upload` checks the token itself, after it is known who sends the file.
        upload = csrf_exempt(self.admin_site.admin_view(csrf_exempt(self.upload_view)))
        return [path("add/", upload, name="products_import_add"), *super().get_urls()]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        changelist.title = "Imports"
        return changelist

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """ "Add" is an upload: the same form as outside the admin."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Upload a file"}
        return upload_page.upload(
            request, "admin/products/import/upload.html", context, then="admin:products_import_change"
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The live page of an import, inside the admin."""
        import_ = self._import(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **import_page.import_context(request, import_),
            "opts": self.opts,
            "title": import_.file_name,
            "products_url": self._products_url(request, import_),
        }
        return TemplateResponse(request, "admin/products/import/change_form.html", context)

    def _import(self, request: HttpRequest, object_id: str) -> Import:
        import_ = self.get_object(request, unquote(object_id))
        if import_ is None:
            raise Http404("There is no such import.")
        if not self.has_view_permission(request, import_):
            raise PermissionDenied
        return import_

    @staticmethod
    def _products_url(request: HttpRequest, import_: Import) -> str:
        """Where the products are that it changed, for those who may see products."""
        seen = request.user.has_perm("products.view_product") or request.user.has_perm("products.change_product")
        return f"?import={import_.pk}" if seen and import_.changes_until is not None else ""

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Who may start imports may cancel them."""
        return import_page.may_import(request)

    @admin.action(description="Cancel the selected imports", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        for import_ in queryset:
            try:
                cancel_import(import_, user=person(request))
                self.message_user(request, f"Cancelling {import_.file_name}. Nothing of it stays in the catalogue.")
            except ServiceError as error:
                self.message_user(request, f"{import_.file_name}: {error.detail}", messages.WARNING)

    @admin.display(description="State")
    def shown_state(self, import_: Import) -> SafeString:
        running = f" {import_.percent:.0f} %" if import_.state == Import.State.PROGRESS else ""
        return format_html('<span class="state {}">{}{}</span>', import_.standing, import_.standing.label, running)

    @admin.display(description="Kind")
    def shown_kind(self, import_: Import) -> str:
        return KINDS[Import.Kind(import_.kind)]

    @admin.display(description="Who")
    def who(self, import_: Import) -> str:
        return str(import_.created_by or "–")

    @admin.display(description="When")
    def uploaded(self, import_: Import) -> SafeString:
        return moment(import_.created_at)

    @admin.display(description="Rows")
    def rows(self, import_: Import) -> SafeString:
        return number(import_.rows_read)

    @admin.display(description="Created")
    def created(self, import_: Import) -> SafeString:
        return number(import_.rows_created)

    @admin.display(description="Updated")
    def updated(self, import_: Import) -> SafeString:
        return number(import_.rows_updated)

    @admin.display(description="Rejected")
    def rejected(self, import_: Import) -> SafeString:
        return number(import_.rows_rejected)

    @admin.display(description="Took")
    def duration(self, import_: Import) -> SafeString:
        text = duration(took(import_)) if import_.finished else ""
        return format_html('<span class="number">{}</span>', text or "–")


def number(count: int) -> SafeString:
    """A count for a column of counts: aligned, and quiet where there is none."""
    return format_html('<span class="number{}">{}</span>', "" if count else " none", grouped(count))
