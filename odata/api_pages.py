"""The API's documentation for people: Swagger UI and Redoc, both from this server's own files.

Both libraries write style attributes and Redoc searches in a worker made of a blob, which our policy forbids. It is
relaxed for that on these two pages and nowhere else; scripts stay those of our own origin.
"""

from __future__ import annotations

from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

RELAXED = {"style-src": ["'unsafe-inline'"], "img-src": ["data:"], "worker-src": ["blob:"]}
METHODS = ["get", "head"]
"""Not OPTIONS, to which DRF has an answer that these pages have no template for."""


@method_decorator(csp_update(RELAXED), name="dispatch")
class SwaggerPage(SpectacularSwaggerSplitView):
    """`/api/docs/`: try the API out, with the session or a token. Its script is an address of its own, not inline."""

    http_method_names = METHODS
    url_name = "schema"
    title = "Try the API · OData Backend"


@method_decorator(csp_update(RELAXED), name="dispatch")
class RedocPage(SpectacularRedocView):
    """`/api/redoc/`: the same, to read."""

    http_method_names = METHODS
    url_name = "schema"
    title = "The API · OData Backend"
