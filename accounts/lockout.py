"""What somebody is told who has tried too many passwords."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """A page with 429 and Retry-After (RFC 6585, section 4): the same whether the name exists or not."""
    minutes = settings.ENV["LOGIN_LOCK_MINUTES"]
    response = render(request, "accounts/locked_out.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(60 * minutes)
    return response
