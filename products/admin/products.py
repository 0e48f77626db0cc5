"""Products in the admin: found, edited in place or one by one, and changed many at a time.

Every write goes through `products.catalogue` or a change of many products, which write the history too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.counting import EstimatingPaginator, estimate
from common.errors import InvalidInputError, ServiceError
from common.moments import moment
from common.parameters import whole_number
from products import catalogue
from products.admin.timeline import timeline
from products.models import Import, Product
from products.models.catalogue import EDITABLE
from products.search import NarrowSearchError, at_most, find, parse
from products.selection import Selection
from products.tasks import change_products
from products.templatetags.figures import grouped

if TYPE_CHECKING:
    from accounts.models import User

    ProductAdminBase = admin.ModelAdmin[Product]
    ProductForm = ModelForm[Product]
else:
    ProductAdminBase, ProductForm = admin.ModelAdmin, ModelForm

RECENT_IMPORTS = 5
SAMPLE = 5
"""Products named on the page that asks whether to go on."""
COUNT_SECONDS = 1.0


# --- filters: they only read the address, `ProductAdmin.selection` makes one selection of them all --------------


class QuickFilter(admin.SimpleListFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        return queryset


class StatusFilter(QuickFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Product.Status.choices]


class ChangedFilter(QuickFilter):
    title = "changed"
    parameter_name = "changed_since"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        today = timezone.now().date()
        days = {str(today): "Today", str(today - timedelta(days=6)): "Last 7 days"}
        asked = request.GET.get(self.parameter_name, "")
        if asked and asked not in days:
            days[asked] = f"Since {asked}"
        return list(days.items())


class ImportFilter(QuickFilter):
    """The last imports that changed something, and the one that the address names."""

    title = "import"
    parameter_name = "import"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        imports = Import.objects.visible_to(request.user).filter(changes_until__isnull=False)
        recent = list(imports.order_by("-pk")[:RECENT_IMPORTS])
        asked = request.GET.get(self.parameter_name, "")
        choices = {str(each.pk): each.file_name for each in recent}
        if asked and asked not in choices:
            choices[asked] = "The one you came from"
        return list(choices.items())


# --- one product ---------------------------------------------------------------------------------


class ProductChangeForm(ProductForm):
    """Remembers which version of the product its editor saw."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        widgets = {"attributes": forms.Textarea(attrs={"rows": 6, "class": "attributes", "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["seen"].initial = self.instance.version

    def clean_sku(self) -> str:
        """Upper and lower case count as the same: of a new product only, since it can't be changed."""
        sku: str = self.cleaned_data["sku"]
        taken = catalogue.with_sku(sku).first()
        if taken is not None and taken.pk != self.instance.pk:
            link = reverse("admin:products_product_change", args=[taken.pk])
            words = format_html('There is already a product with this sku: <a href="{}">{}</a>.', link, taken.sku)
            raise forms.ValidationError(words, code="sku_taken")
        return sku

    def clean_attributes(self) -> Any:
        attributes = self.cleaned_data["attributes"]
        if attributes is None:
            return {}
        if not isinstance(attributes, dict):
            raise forms.ValidationError('Attributes are names with values, such as {"colour": "red"}.', code="object")
        return attributes

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        seen = self.cleaned_data.get("seen")
        if self.instance.pk and seen and self.changed_data and self.instance.version != seen:
            # What the page shows again has been seen by then.
            self.data = {**self.data.dict(), self.add_prefix("seen"): str(self.instance.version)}  # type: ignore[attr-defined]
            raise forms.ValidationError(
                f"This product was changed meanwhile: you saw version {seen}, it has version {self.instance.version} "
                "now. Its history below says what changed. Save again to have your values all the same.",
                code="changed_meanwhile",
            )
        return cleaned


@admin.register(Product)
class ProductAdmin(ProductAdminBase):
    form = ProductChangeForm
    list_display = ("sku", "shown_name", "shown_status", "shown_updated")
    list_filter = (StatusFilter, ChangedFilter, ImportFilter)
    list_per_page = 50
    ordering = ("id",)
    sortable_by = ()  # any other order sorts the whole table for a page of it
    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("sku",)
    search_help_text = "The beginning of a sku, words of the name, or an attribute such as colour:red."
    actions = ("activate", "deactivate", "delete_selected")
    readonly_fields = ("version", "created_at", "updated_at", "changes")
    fieldsets = (
        (None, {"fields": ("sku", "name", "description", "status", "attributes", "seen")}),
        ("History", {"fields": ("changes",), "classes": ("history",)}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "sku") if obj else self.readonly_fields

    def get_fieldsets(self, request: HttpRequest, obj: Product | None = None) -> Any:
        (name, main), history = self.fieldsets
        edits = obj is not None and self.has_change_permission(request, obj)
        fields = tuple(field for field in main["fields"] if field != "seen" or edits)
        shown = (name, {**main, "fields": fields})
        return (shown, history) if obj else (shown,)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<path:object_id>/inline/", self.admin_site.admin_view(self.inline_view), name="products_product_inline"
            ),
            path("<path:object_id>/older/", self.admin_site.admin_view(self.older_view), name="products_product_older"),
        ]
        return [*own, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Product, form: ModelForm[Product], change: bool) -> None:
        if change:
            fields = {name: form.cleaned_data[name] for name in form.changed_data if name in EDITABLE}
            seen = form.cleaned_data.get("seen")
            catalogue.update_product(obj, fields, actor=actor(request), version=seen)
        else:
            fields = {name: value for name, value in form.cleaned_data.items() if name != "seen"}
            created = catalogue.create_product(fields, actor=actor(request))
            obj.pk, obj._state = created.pk, created._state

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        catalogue.delete_product(obj, actor=actor(request))

    # The catalogue's history has every change of a product: the admin's own log would be a second, poorer one.

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return None

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:products_product_change", args=[object_id]) + "#history")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Product | None:
        product = super().get_object(request, object_id, from_field)
        if product is not None:
            product.looked_at_by = request.user  # type: ignore[attr-defined]  # for `changes`, which gets no request
        return product

    @admin.display(description="Changes")
    def changes(self, product: Any) -> SafeString:
        shown = timeline(product.pk, product.looked_at_by)
        return render_to_string("admin/products/product/changes.html", shown)

    def older_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The next part of a product's history, `?before=` an entry: rows for the table on its page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        product_id, before = whole_number(object_id), whole_number(request.GET.get("before", ""))
        if product_id is None or before is None:
            raise Http404
        return TemplateResponse(
            request,
            "admin/products/product/changes.html",
            timeline(product_id, request.user, before=before),
        )

    def inline_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Name and status of one product, edited in the list. Refused if it has not the version that was shown."""
        if request.method != "POST":
            return HttpResponse(status=405, headers={"Allow": "POST"})
        if not self.has_change_permission(request):
            raise PermissionDenied
        product_id = whole_number(object_id)
        product = None if product_id is None else Product.objects.filter(pk=product_id).first()
        if product is None:
            raise Http404
        version = whole_number(request.POST.get("version", ""))
        if version is None:
            raise InvalidInputError("version has to be the number that the list showed.")
        fields = {name: request.POST[name] for name in ("name", "status") if name in request.POST}
        product = catalogue.update_product(product, fields, actor=actor(request), version=version)
        return JsonResponse(row_of(product))

    # --- the list ------------------------------------------------------------------------------

    def selection(self, request: HttpRequest) -> Selection:
        """All filters of the list as one. Raises InvalidInputError."""
        typed = parse(request.GET.get("q", ""))
        chosen = Selection.parse(request.GET.dict())
        return Selection(
            status=chosen.status,
            search=typed.search,
            import_id=chosen.import_id,
            attributes=typed.attributes,
            sku=typed.sku,
            changed_since=chosen.changed_since,
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Product], search_term: str
    ) -> tuple[QuerySet[Product], bool]:
        """What the selection of this request has. Django's own filters add nothing to it."""
        try:
            found = find(self.selection(request))
        except NarrowSearchError as error:
            self.message_user(request, error.detail, messages.WARNING)
            return queryset.none(), False
        request.found_many = found.many  # type: ignore[attr-defined]
        return found.products, False

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> EstimatingPaginator:
        pages: EstimatingPaginator = super().get_paginator(request, *args, **kwargs)  # type: ignore[assignment]
        pages.many = getattr(request, "found_many", False)
        return pages

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        changelist.title = "Products"
        return changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """As Django's; what the catalogue refuses is said instead of failing."""
        try:
            selection = self.selection(request)
            shown = {
                "chips": selection.words(),
                "export_query": selection.as_query(),
                "may_change": self.has_change_permission(request),
            }
            return super().changelist_view(request, {**(extra_context or {}), **shown})
        except ServiceError as error:
            return self._refused(request, error, request.path if request.method == "GET" else request.get_full_path())

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
            return self._refused(request, error, request.get_full_path())

    def _refused(self, request: HttpRequest, error: ServiceError, then: str) -> HttpResponse:
        for words in [problem.message for problem in error.errors] or [error.detail]:
            self.message_user(request, words, messages.ERROR)
        return HttpResponseRedirect(then)

    @admin.display(description="Name")
    def shown_name(self, product: Product) -> SafeString:
        url = reverse("admin:products_product_inline", args=[product.pk])
        return format_html(
            '<span class="inline-edit" data-url="{}" data-sku="{}" data-version="{}" data-status="{}">'
            "<span data-name>{}</span></span>",
            *(url, product.sku, product.version, product.status, product.name),
        )

    @admin.display(description="Status")
    def shown_status(self, product: Product) -> SafeString:
        return format_html('<span class="status {}">{}</span>', product.status, product.get_status_display())

    @admin.display(description="Changed")
    def shown_updated(self, product: Product) -> SafeString:
        return moment(product.updated_at)

    # --- many at a time --------------------------------------------------------------------------

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[Product]) -> HttpResponse | None:
        return self._set_status(request, "activate", Product.Status.ACTIVE)

    @admin.action(description="Deactivate", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[Product]) -> HttpResponse | None:
        return self._set_status(request, "deactivate", Product.Status.INACTIVE)

    @admin.action(description="Delete…", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Product]) -> HttpResponse | None:
        return self._ask_then_change(request, "delete")

    def _set_status(self, request: HttpRequest, action: str, status: Product.Status) -> HttpResponse | None:
        """The rows that were ticked at once, and all that match in the background."""
        if is_across(request):
            return self._ask_then_change(request, action)
        chosen = Selection(ids=ticked(request)).products()
        changed = catalogue.set_status(chosen, status, actor=actor(request))
        self.message_user(request, f"{grouped(changed)} changed to {status.label.lower()}.", messages.SUCCESS)
        return None

    def _ask_then_change(self, request: HttpRequest, action: str) -> HttpResponse:
        """Ask on a page of its own; then it is a change of many, with progress and undo."""
        selection = self.selection(request) if is_across(request) else Selection(ids=ticked(request))
        if request.POST.get("post"):
            change = change_products(action, selection, user=actor(request))
            page = "admin:products_import_change" if request.user.has_perm("products.view_import") else "import-detail"
            return HttpResponseRedirect(reverse(page, args=[change.pk]))
        count, exact = count_of(selection)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.capitalize()} {'' if exact else 'about '}{grouped(count)} product{'s'[: count != 1]}?",
            "opts": self.opts,
            "action": action,
            "count": count,
            "exact": exact,
            "words": [] if selection.ids else selection.words(),
            "across": is_across(request),
            "ticked": ticked(request),
            "sample": list(selection.products().order_by("id")[:SAMPLE]),
            "more": max(0, count - SAMPLE),
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/products/product/change_many.html", context)


def row_of(product: Product) -> dict[str, Any]:
    """What the list shows of a product, after an edit."""
    return {
        "name": product.name,
        "status": product.status,
        "status_label": product.get_status_display(),
        "version": product.version,
        "updated_at": product.updated_at.isoformat(),
    }


def actor(request: HttpRequest) -> User:
    if not request.user.is_authenticated:  # the admin lets nobody in who is not
        raise PermissionDenied
    return request.user


def is_across(request: HttpRequest) -> bool:
    """Whether all that match are meant, rather than the ticked rows."""
    return request.POST.get("select_across") == "1"


def ticked(request: HttpRequest) -> tuple[int, ...]:
    """The products whose boxes are ticked. Raises InvalidInputError if there is none."""
    chosen = map(whole_number, request.POST.getlist(ACTION_CHECKBOX_NAME))
    ids = tuple(number for number in chosen if number is not None)
    if not ids:
        raise InvalidInputError("Tick the products first.", code="nothing_chosen")
    return ids


def count_of(selection: Selection) -> tuple[int, bool]:
    """How many products a selection has, and whether that is exact."""
    products = selection.products()
    try:
        with at_most(COUNT_SECONDS):
            return products.count(), True
    except NarrowSearchError:
        return estimate(products), False
