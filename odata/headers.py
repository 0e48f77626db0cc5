"""Headers that every answer has, whoever made it: a view, the server of static files, an error on the way."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware


class AnswerHeadersMiddleware(SecurityMiddleware):
    """The outermost: fills in what an answer lacks that was made before the other middleware had its say.

    Django's SecurityMiddleware, inside, sees no answer to its own refusals, such as of a host that isn't ours.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Nothing: leading to HTTPS is left to Django's own."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """What says nothing else about caches is kept by none: it is somebody's, or an error that passes."""
        answer = response if "X-Content-Type-Options" in response else super().process_response(request, response)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


def of_the_live_server() -> list[tuple[bytes, bytes]]:
    """The same for the sentences that the live server says over HTTP, which are no pages and load nothing."""
    headers = {
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "x-frame-options": settings.X_FRAME_OPTIONS,
        "referrer-policy": settings.SECURE_REFERRER_POLICY,
        "cross-origin-opener-policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "cache-control": "no-store",
    }
    if settings.HTTPS:  # browsers pay no heed to it where it comes by plain HTTP (RFC 6797, section 8.1)
        headers["strict-transport-security"] = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
    return [(name.encode(), value.encode()) for name, value in headers.items()]
