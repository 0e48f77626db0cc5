"""All addresses of the web process."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from odata import health
from odata.api_pages import RedocPage, SwaggerPage
from odata.metrics import metrics

handler400 = "common.problems.bad_request"
handler403 = "common.problems.permission_denied"
handler404 = "common.problems.page_not_found"
handler500 = "common.problems.server_error"

urlpatterns = [
    path("", include("products.urls")),  # first, since Django tries one after the other
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SwaggerPage.as_view(), name="api-docs"),
    path("api/redoc/", RedocPage.as_view(), name="api-redoc"),
    path("", include("webhooks.urls")),
    path("", include("accounts.urls")),
    path("", include("products.page_urls")),
]
