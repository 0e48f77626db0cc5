"""What every page is told about the service around it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def live_server(request: HttpRequest) -> dict[str, str]:
    """`live_url`: where this page's browser finds the live server, as a ws:// or wss:// origin."""
    scheme = "wss" if request.is_secure() else "ws"
    if settings.LIVE_URL == "same-origin":
        return {"live_url": f"{scheme}://{request.get_host()}"}
    if settings.LIVE_URL:
        return {"live_url": settings.LIVE_URL.rstrip("/")}
    host = request.get_host().rsplit(":", 1)[0] if not request.get_host().endswith("]") else request.get_host()
    return {"live_url": f"{scheme}://{host}:{settings.LIVE_PORT}"}
