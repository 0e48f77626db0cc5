"""Who has tried too many passwords, beside those of one name from one address, and what they are told."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone


class Locks(AxesDatabaseHandler):
    """Locks also an address that has tried too many names, such as one password with each.

    Many people may share an address, so it may be wrong far more often than one of them.
    """

    def is_locked(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        return bool(super().is_locked(request, credentials)) or self._has_tried_too_much(request)

    def _has_tried_too_much(self, request: Any) -> bool:
        limit: int = settings.LOGIN_ADDRESS_LIMIT
        if not limit:
            return False
        tries = AccessAttempt.objects.filter(
            ip_address=request.axes_ip_address, attempt_time__gte=get_cool_off_threshold(request)
        )
        wrong: int | None = tries.aggregate(wrong=Sum("failures_since_start"))["wrong"]
        return (wrong or 0) >= limit


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """A page with 429 and Retry-After (RFC 6585, section 4): the same whether the name exists or not."""
    ends = _ends_at(request)
    seconds = max(1, math.ceil((ends - timezone.now()).total_seconds()))
    context = {
        "minutes": math.ceil(seconds / 60),
        "until": ends.replace(second=0, microsecond=0) + timedelta(minutes=1),  # pages show whole minutes
        "next": request.POST.get("next", ""),
    }
    response = render(request, "accounts/locked_out.html", context, status=429)
    response["Retry-After"] = str(seconds)
    return response


def _ends_at(request: Any) -> datetime:
    """When the lock ends: that of the name, or else that of its address, if nobody there is wrong once more."""
    of_address = AccessAttempt.objects.filter(ip_address=request.axes_ip_address)
    of_name = of_address.filter(
        username=get_client_username(request), failures_since_start__gte=settings.AXES_FAILURE_LIMIT
    )
    last = of_name.aggregate(at=Max("attempt_time"))["at"] or of_address.aggregate(at=Max("attempt_time"))["at"]
    ends: datetime = (last or timezone.now()) + settings.AXES_COOLOFF_TIME
    return ends
