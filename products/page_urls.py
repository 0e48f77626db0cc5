"""Addresses of the pages for people; programs use `products.urls`."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

from products import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="import-list"), name="home"),
    path("imports/", views.import_list, name="import-list"),
    path("imports/new/", views.import_new, name="import-new"),
    path("imports/template.csv", views.template_csv, name="template-csv"),
    path("imports/<uuid:import_id>/", views.import_detail, name="import-detail"),
    path("imports/<uuid:import_id>/cancel/", views.import_cancel, name="import-cancel"),
    path("imports/<uuid:import_id>/apply/", views.import_apply, name="import-apply"),
    path("imports/<uuid:import_id>/undo/", views.import_undo, name="import-undo"),
    path("imports/<uuid:import_id>/read-again/", views.import_read_again, name="import-read-again"),
    path("imports/<uuid:import_id>/changes/", views.import_changes, name="import-changes"),
    path("imports/<uuid:import_id>/rows/", views.import_rows, name="import-rows"),
]
