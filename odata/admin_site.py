"""The admin site: Django's own, with our name."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.http import HttpRequest


class AdminConfig(DjangoAdminConfig):
    default_site = "odata.admin_site.CatalogueAdminSite"


class CatalogueAdminSite(admin.AdminSite):
    site_header = "OData Backend"
    site_title = "OData Backend"
    index_title = "Catalogue"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Without the results of tasks: ours keep none, what they came to is in the imports."""
        apps = super().get_app_list(request, app_label)
        return [app for app in apps if app["app_label"] != "django_celery_results"]
