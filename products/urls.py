"""Addresses for programs; `products.page_urls` has those for people."""

from __future__ import annotations

from django.urls import path

from common.original_paths import with_or_without_slash
from products.api.bulk import BulkViewSet
from products.api.change_feed import ChangeFeedView
from products.api.changes import ChangesViewSet
from products.api.exports import ExportViewSet
from products.api.history import HistoryViewSet
from products.api.imports import ImportViewSet
from products.api.mappings import MappingViewSet
from products.api.originals import OriginalImportViewSet, OriginalProductViewSet
from products.api.products import ProductViewSet
from products.api.rejects import RejectsViewSet
from products.api.uploads import UploadListView, UploadView

product_list = ProductViewSet.as_view({"get": "list", "post": "create"})
product_detail = ProductViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
)


urlpatterns = [
    path("api/v1/products/", product_list, name="product-list"),
    path("api/v1/products/bulk/", BulkViewSet.as_view({"post": "write"}), name="product-bulk"),
    path("api/v1/products/export.csv", ExportViewSet.as_view({"get": "csv"}), name="product-export-csv"),
    path("api/v1/products/export.xlsx", ExportViewSet.as_view({"get": "xlsx"}), name="product-export-xlsx"),
    path("api/v1/products/<path:sku>/history/", HistoryViewSet.as_view({"get": "list"}), name="product-history"),
    path("api/v1/products/<path:sku>/", product_detail, name="product-detail"),
    path("api/v1/imports/", ImportViewSet.as_view({"get": "list", "post": "create"}), name="api-import-list"),
    path("api/v1/imports/mapping/", MappingViewSet.as_view({"post": "propose"}), name="api-import-mapping"),
    path("api/v1/imports/<str:import_id>/", ImportViewSet.as_view({"get": "retrieve"}), name="api-import-detail"),
    path("api/v1/imports/<str:import_id>/cancel/", ImportViewSet.as_view({"post": "cancel"}), name="api-import-cancel"),
    path("api/v1/imports/<str:import_id>/apply/", ImportViewSet.as_view({"post": "apply"}), name="api-import-apply"),
    path("api/v1/imports/<str:import_id>/undo/", ImportViewSet.as_view({"post": "undo"}), name="api-import-undo"),
    path("api/v1/imports/<str:import_id>/file/", ImportViewSet.as_view({"get": "download"}), name="api-import-file"),
    path("api/v1/imports/<str:import_id>/changes/", ChangesViewSet.as_view({"get": "list"}), name="api-import-changes"),
    path("api/v1/imports/<str:import_id>/rejects/", RejectsViewSet.as_view({"get": "list"}), name="api-rejects"),
    path(
        "api/v1/imports/<str:import_id>/rejects/summary/",
        RejectsViewSet.as_view({"get": "summary"}),
        name="api-rejects-summary",
    ),
    path(
        "api/v1/imports/<str:import_id>/rejects.csv",
        RejectsViewSet.as_view({"get": "download"}),
        name="api-rejects-csv",
    ),
    path("api/v1/changes/", ChangeFeedView.as_view(), name="api-changes"),
    path("files/", UploadListView.as_view(), name="upload-list"),
    path("files/<str:upload_id>", UploadView.as_view(), name="upload-detail"),
    *with_or_without_slash("products/csv", OriginalImportViewSet, {"post": "create"}),
    *with_or_without_slash("products/all", OriginalProductViewSet, {"get": "list_all"}),
    *with_or_without_slash("products/new", OriginalProductViewSet, {"post": "create"}),
    # With or without a slash as well, but it may be the sku's own: the view looks.
    path(
        "products/id/<path:sku>",
        OriginalProductViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
    ),
]
