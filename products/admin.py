"""The catalogue in Django's admin: products are edited through `products.catalogue`, imports are watched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.csrf import csrf_exempt

from common.errors import ServiceError
from products import catalogue, pages
from products.importing import lease
from products.models import Import, Product, ProductChange
from products.templatetags.figures import grouped

if TYPE_CHECKING:
    from accounts.models import User

    ProductAdminBase = admin.ModelAdmin[Product]
    ImportAdminBase = admin.ModelAdmin[Import]
    ProductChangeAdminBase = admin.ModelAdmin[ProductChange]
else:
    ProductAdminBase = ImportAdminBase = ProductChangeAdminBase = admin.ModelAdmin

CHANGES_SHOWN = 50


class EstimatingPaginator(Paginator):
    """Counts up to `EXACT_UP_TO` rows and takes the planner's estimate beyond.

    An exact count reads the whole table for each page that somebody turns.
    """

    EXACT_UP_TO = 5000

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list.order_by()  # type: ignore[attr-defined]
        bounded = rows[: self.EXACT_UP_TO + 1].count()
        if bounded <= self.EXACT_UP_TO:
            return bounded
        plan = json.loads(rows.explain(format="json"))
        return max(bounded, int(plan[0]["Plan"]["Plan Rows"]))


@admin.register(Product)
class ProductAdmin(ProductAdminBase):
    list_display = ("sku", "name", "status", "version", "updated_at")
    list_filter = ("status",)
    list_per_page = 50
    ordering = ("id",)
    sortable_by = ()  # any other order sorts the whole table for a page of it
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("sku",)
    actions = ("set_active", "set_inactive")
    search_help_text = "The beginning of a sku. Where no sku begins like this, products whose name contains it."
    readonly_fields = ("version", "created_at", "updated_at", "changes")
    fieldsets = (
        (None, {"fields": ("sku", "name", "description", "status", "attributes")}),
        ("History", {"fields": ("version", "created_at", "updated_at", "changes")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields

    def get_fieldsets(self, request: HttpRequest, obj: Product | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:1]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Product], search_term: str
    ) -> tuple[QuerySet[Product], bool]:
        """By the index on lower(sku) if that finds anything, else through all names."""
        term = search_term.strip()
        if not term:
            return queryset, False
        by_sku = queryset.alias(lower_sku=Lower("sku")).filter(lower_sku__startswith=term.lower())
        return (by_sku if by_sku.exists() else queryset.filter(name__icontains=term)), False

    @admin.display(description="Changes")
    def changes(self, product: Product) -> SafeString:
        return render_to_string("admin/products/product/changes.html", {"changes": changes_of(product)})

    # Every write goes through the catalogue, which writes the history too.

    def save_model(self, request: HttpRequest, obj: Product, form: ModelForm[Product], change: bool) -> None:
        if change:
            fields = {name: form.cleaned_data[name] for name in form.changed_data}
            catalogue.update_product(Product.objects.get(pk=obj.pk), fields, actor=_actor(request))
        else:
            created = catalogue.create_product(dict(form.cleaned_data), actor=_actor(request))
            obj.pk, obj._state = created.pk, created._state

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        catalogue.delete_product(obj, actor=_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> None:
        catalogue.delete_products(queryset, actor=_actor(request))

    @admin.action(description="Set the selected products active", permissions=["change"])
    def set_active(self, request: HttpRequest, queryset: QuerySet[Product]) -> None:
        self._set_status(request, queryset, Product.Status.ACTIVE)

    @admin.action(description="Set the selected products inactive", permissions=["change"])
    def set_inactive(self, request: HttpRequest, queryset: QuerySet[Product]) -> None:
        self._set_status(request, queryset, Product.Status.INACTIVE)

    def _set_status(self, request: HttpRequest, queryset: QuerySet[Product], status: Product.Status) -> None:
        changed = catalogue.set_status(queryset, status, actor=_actor(request))
        self.message_user(request, f"{grouped(changed)} changed to {status.label.lower()}.", messages.SUCCESS)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """As Django's; what the catalogue refuses is said instead of failing."""
        try:
            return super().changelist_view(request, extra_context)
        except ServiceError as error:
            return self._refused(request, error)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As Django's, and as above."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ServiceError as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: ServiceError) -> HttpResponse:
        for words in [problem.message for problem in error.errors] or [error.detail]:
            self.message_user(request, words, messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())


def _actor(request: HttpRequest) -> User:
    if not request.user.is_authenticated:  # the admin lets nobody in who is not
        raise PermissionDenied
    return request.user


def changes_of(product: Product) -> list[dict[str, Any]]:
    """The newest changes of a product, with the names of who made them and of the file they came from."""
    changes = list(ProductChange.objects.filter(product_id=product.pk).order_by("-id")[:CHANGES_SHOWN])
    people = get_user_model().objects.in_bulk({change.actor_id for change in changes if change.actor_id})
    files = Import.objects.in_bulk({change.import_id for change in changes if change.import_id})
    return [
        {
            "change": change,
            "who": people.get(change.actor_id or 0),
            "source": files.get(change.import_id) if change.import_id else None,
        }
        for change in changes
    ]


@admin.register(Import)
class ImportAdmin(ImportAdminBase):
    """Read-only: an import is made by an upload and changed by its worker."""

    list_display = ("file_name", "shown_state", "created_by", "uploaded", "rows", "rejected")
    list_display_links = ("file_name",)
    list_filter = ("state",)
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
        # `pages.upload` checks the token itself, after it is known who sends the file.
        upload = csrf_exempt(self.admin_site.admin_view(csrf_exempt(self.upload_view)))
        return [path("add/", upload, name="products_import_add"), *super().get_urls()]

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """ "Add" is an upload: the same form as outside the admin."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Upload a file"}
        return pages.upload(request, "admin/products/import/upload.html", context, then="admin:products_import_change")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The live page of an import, inside the admin."""
        import_ = self._import(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **pages.import_context(request, import_),
            "opts": self.opts,
            "title": import_.file_name,
        }
        return TemplateResponse(request, "admin/products/import/change_form.html", context)

    def _import(self, request: HttpRequest, object_id: str) -> Import:
        import_ = self.get_object(request, unquote(object_id))
        if import_ is None:
            raise Http404("There is no such import.")
        if not self.has_view_permission(request, import_):
            raise PermissionDenied
        return import_

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Who may start imports may cancel them."""
        return pages.may_import(request)

    @admin.action(description="Cancel the selected imports", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Import]) -> None:
        for import_ in queryset:
            try:
                lease.request_cancel(import_)
                self.message_user(request, f"Cancelling {import_.file_name}. Nothing of it stays in the catalogue.")
            except ServiceError as error:
                self.message_user(request, f"{import_.file_name}: {error.detail}", messages.WARNING)

    @admin.display(description="State")
    def shown_state(self, import_: Import) -> SafeString:
        running = f" {import_.percent:.0f} %" if import_.state == Import.State.PROGRESS else ""
        return format_html('<span class="state {}">{}{}</span>', import_.state, import_.get_state_display(), running)

    @admin.display(description="Uploaded")
    def uploaded(self, import_: Import) -> str:
        return f"{timezone.localtime(import_.created_at):%Y-%m-%d %H:%M}"

    @admin.display(description="Rows")
    def rows(self, import_: Import) -> str:
        return grouped(import_.rows_read)

    @admin.display(description="Rejected")
    def rejected(self, import_: Import) -> str:
        return grouped(import_.rows_rejected)


@admin.register(ProductChange)
class ProductChangeAdmin(ProductChangeAdminBase):
    """History is read, never written by hand."""

    list_display = ("sku", "action", "version", "changed_at", "source")
    list_display_links = None
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    actions = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ProductChange | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ProductChange | None = None) -> bool:
        return False

    @admin.display(description="Came from")
    def source(self, change: ProductChange) -> SafeString | str:
        if change.import_id is None:
            return "an edit"
        url = reverse("admin:products_import_change", args=[change.import_id])
        where = f"import, line {change.line_number}" if change.line_number else "import"
        return format_html('<a href="{}">{}</a>', url, where)
