"""The admin site: Django's own, with our name, our first page, a palette and a menu by subject."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone

SUBJECTS = {
    "Catalogue": ("products.Product", "products.ProductChange"),
    "Imports": ("products.Import",),
    "Webhooks": ("webhooks.WebhookEndpoint", "webhooks.Delivery"),
    "Accounts": ("accounts.User", "auth.Group", "accounts.ApiToken", "accounts.AuditEntry"),
}
"""The menu. What is not named here comes after it, under its app's name."""

HIDDEN_APPS = ("django_celery_results",)
"""Its one page, of `odata.admin`, is named under Service, beside the doctor."""


class AdminConfig(DjangoAdminConfig):
    default_site = "odata.admin_site.CatalogueAdminSite"


class CatalogueAdminSite(admin.AdminSite):
    site_header = "OData Backend"
    site_title = "OData Backend"
    index_title = "Dashboard"
    index_template = "admin/dashboard.html"
    enable_nav_sidebar = False  # ours is in templates/admin/base_site.html

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff, where the operator asks for it only with a second factor. All pages of the admin ask here."""
        verified = not settings.REQUIRE_SECOND_FACTOR_FOR_STAFF or request.user.is_verified()  # type: ignore[union-attr]
        return super().has_permission(request) and verified

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """One page to log in for all, which asks for the second factor; who lacks one is led to set it up."""
        if not request.user.is_authenticated:
            from django.contrib.auth.views import redirect_to_login

            return redirect_to_login(request.GET.get("next", reverse("admin:index")))
        if self.has_permission(request):
            return redirect("admin:index")
        if not request.user.is_staff:
            raise PermissionDenied("Your account may not see the admin. Log in as somebody who may.")
        return redirect("two-factor")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from accounts import audit

        with audit.acting(request):
            return super().password_change(request, extra_context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = super().get_app_list(request, app_label)
        return [app for app in apps if app["app_label"] not in HIDDEN_APPS]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        apps = context["available_apps"]
        shown = {"subjects": by_subject(apps), "quick_links": self.quick_links(request)}
        return {**context, **shown, "may_examine": may_examine(request.user)}

    def get_urls(self) -> list[URLPattern | URLResolver]:
        own = [
            path("palette.json", self.admin_view(self.palette_view), name="palette"),
            path("running/", self.admin_view(self.running_view), name="running"),
            path("doctor/", self.admin_view(self.doctor_view), name="doctor"),
        ]
        return [*own, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from products.admin.dashboard import dashboard
        from webhooks.admin.overview import overview

        shown = {"is_dashboard": True, "webhooks": overview(request.user), **dashboard(request)}
        return super().index(request, {**shown, **(extra_context or {})})

    @staticmethod
    def running_view(request: HttpRequest) -> HttpResponse:
        """The part of the first page that renews itself."""
        from products.admin.dashboard import may_see_imports, running_imports

        shown = running_imports(request.user) if may_see_imports(request.user) else {}
        return TemplateResponse(request, "admin/running.html", shown)

    def doctor_view(self, request: HttpRequest) -> HttpResponse:
        """What `manage.py doctor` says, as seen from this web process."""
        from odata import doctor

        if not may_examine(request.user):
            raise PermissionDenied("Only administrators may look at how the service is set up.")
        began = time.monotonic()
        sections = doctor.examine()
        findings = [finding for section in sections for finding in section.findings]
        shown = {
            "title": "Doctor",
            "sections": sorted(sections, key=lambda section: -doctor.STATES.index(section.state)),
            "state": doctor.worst(findings),
            "counts": Counter(finding.state for finding in findings),
            "looked_at": timezone.now(),
            "took": time.monotonic() - began,
            "is_doctor": True,
        }
        return TemplateResponse(request, "admin/doctor.html", {**self.each_context(request), **shown})

    def palette_view(self, request: HttpRequest) -> HttpResponse:
        """`?q=`: what the palette lists, as JSON."""
        from products.admin.palette import entries_of, palette

        actions = [("Dashboard", reverse("admin:index")), *self.quick_links(request)]
        if may_examine(request.user):
            actions.append(("Doctor: how the service is", reverse("admin:doctor")))
            actions.append(("Task results", reverse("admin:django_celery_results_taskresult_changelist")))
        if request.user.is_authenticated and request.user.has_usable_password():
            actions.append(("Change your password", reverse("admin:password_change")))
        return JsonResponse(palette(request, entries_of(by_subject(self.get_app_list(request)), actions)))

    @staticmethod
    def quick_links(request: HttpRequest) -> list[tuple[str, str]]:
        """What staff do most, as (label, address): what this person may do."""
        links = [
            ("Upload a file", "admin:products_import_add", "products.add_import"),
            ("Export products", "product-export-xlsx", "products.view_product"),
            ("Add a product", "admin:products_product_add", "products.add_product"),
        ]
        return [(label, reverse(name)) for label, name, permission in links if request.user.has_perm(permission)]


def may_examine(user: Any) -> bool:
    from accounts.access import may_examine_service

    return may_examine_service(user)


def by_subject(apps: list[Any]) -> list[dict[str, Any]]:
    """The models of these apps under the headings of the menu."""
    left = {f"{app['app_label']}.{model['object_name']}": (app, model) for app in apps for model in app["models"]}
    groups = [
        {"name": name, "models": [left.pop(label)[1] for label in labels if label in left]}
        for name, labels in SUBJECTS.items()
    ]
    others: dict[str, dict[str, Any]] = {}
    for app, model in left.values():
        others.setdefault(app["app_label"], {"name": app["name"], "models": []})["models"].append(model)
    return [group for group in [*groups, *others.values()] if group["models"]]
