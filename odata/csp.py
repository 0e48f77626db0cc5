"""The Content-Security-Policy, with the one origin in it that depends on the request."""

from __future__ import annotations

from csp.constants import HEADER
from csp.middleware import CSPMiddleware, PolicyParts
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from odata.context import live_server

FOR_DOCUMENTS = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""JSON loads nothing, sends nothing and is shown in nothing."""


class LiveServerCSPMiddleware(CSPMiddleware):
    """Lets pages open sockets to the live server, which may have a port or a host of its own."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.get("Content-Type") == "application/json":
            response[HEADER] = FOR_DOCUMENTS
            return response
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        parts: PolicyParts = super().get_policy_parts(request, response, report_only)
        if report_only:
            return parts
        try:
            live = live_server(request)["live_url"]
        except DisallowedHost:
            return parts  # such a request gets an error page, which opens no socket
        parts.update = {**(parts.update or {}), "connect-src": [*(parts.update or {}).get("connect-src", []), live]}
        return parts
