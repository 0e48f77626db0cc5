"""What somebody is told who has tried too many passwords."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """A page with 429 and Retry-After (RFC 6585, section 4): the same whether the name exists or not."""
    minutes = settings.ENV["LOGIN_LOCK_MINUTES"]
    ends = timezone.now() + timedelta(minutes=minutes)
    context = {
        "minutes": minutes,
        # Pages show whole minutes, and who comes within the one that it ends in would have to wait anew.
        "until": ends.replace(second=0, microsecond=0) + timedelta(minutes=1),
        "next": request.POST.get("next", ""),
    }
    response = render(request, "accounts/locked_out.html", context, status=429)
    response["Retry-After"] = str(60 * minutes)
    return response
