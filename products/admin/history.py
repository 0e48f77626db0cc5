"""The history in the admin: read, never written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.counting import EstimatingPaginator
from common.moments import moment
from common.read_only import ReadOnly
from products.models import ProductChange
from products.pushing import last_change

if TYPE_CHECKING:
    ProductChangeAdminBase = admin.ModelAdmin[ProductChange]
else:
    ProductChangeAdminBase = admin.ModelAdmin

NEWEST = 10_000
"""So many entries of the history are listed: their place in it is known, so that none of the others is read."""


@admin.register(ProductChange)
class ProductChangeAdmin(ReadOnly, ProductChangeAdminBase):
    """The newest changes of the catalogue. Older ones are on the pages of their products and imports."""

    list_display = ("product", "action", "version", "changed", "source")
    list_display_links = None
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    actions = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProductChange]:
        return super().get_queryset(request).filter(id__gt=last_change() - NEWEST)

    @admin.display(description="Sku")
    def product(self, change: ProductChange) -> SafeString | str:
        if change.action == ProductChange.Action.DELETED:
            return change.sku
        url = reverse("admin:products_product_change", args=[change.product_id])
        return format_html('<a href="{}">{}</a>', url, change.sku)

    @admin.display(description="Changed")
    def changed(self, change: ProductChange) -> SafeString:
        return moment(change.changed_at)

    @admin.display(description="Came from")
    def source(self, change: ProductChange) -> SafeString | str:
        if change.import_id is None:
            return "an edit"
        url = reverse("admin:products_import_change", args=[change.import_id])
        where = f"import, line {change.line_number}" if change.line_number else "import"
        return format_html('<a href="{}">{}</a>', url, where)
