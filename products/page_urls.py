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
]
