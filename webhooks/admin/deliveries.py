"""The log of deliveries in the admin: what was sent, what came of it, and once more."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from common.ids import first_uuid7
from common.read_only import ReadOnly
from webhooks import deliveries
from webhooks.admin import shown
from webhooks.event_types import EVENT_TYPES
from webhooks.models import Attempt, Delivery, Event, WebhookEndpoint, message_id

if TYPE_CHECKING:
    DeliveryAdminBase = admin.ModelAdmin[Delivery]
else:
    DeliveryAdminBase = admin.ModelAdmin

PAGE = 50
ATTEMPTS_SHOWN = 50
ENDPOINTS_NAMED = 500
PERIODS = {"1": "Last hour", "24": "Last 24 hours", "168": "Last 7 days"}
WRITES = "webhooks.change_webhookendpoint"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly, DeliveryAdminBase):
    """Read, and asked for again. Pages go by key, and nothing is counted: there may be millions."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return Delivery.objects.visible_to(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return super().has_view_permission(request, obj) or request.user.has_perm(WRITES)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or request.user.has_perm(WRITES)

    def get_urls(self) -> list[URLPattern]:
        again = self.admin_site.admin_view(self.redeliver_view)
        return [path("redeliver/", again, name="webhooks_delivery_redeliver"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = filtered(self.get_queryset(request), request)
        before = identifier(request.GET.get("before", ""))
        rows = list((found.filter(pk__lt=before) if before else found).order_by("-pk")[: PAGE + 1])
        names = endpoint_names(request)
        kept = {name: value for name, value in request.GET.items() if name in FILTERS and value}
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Deliveries",
            "rows": [row_of(delivery, names) for delivery in rows[:PAGE]],
            "older": "?" + urlencode({**kept, "before": str(rows[PAGE - 1].pk)}) if len(rows) > PAGE else "",
            "newest": "?" + urlencode(kept) if before else "",
            "chosen": kept,
            "any_chosen": bool(kept),
            "endpoints": [(str(pk), name) for pk, name in names.items()],
            "states": Delivery.State.choices,
            "event_types": list(EVENT_TYPES),
            "periods": list(PERIODS.items()),
            "may_write": request.user.has_perm(WRITES),
        }
        return TemplateResponse(request, "admin/webhooks/delivery/change_list.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The body that is sent, and every attempt to send it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        wanted = identifier(object_id)
        delivery = self.get_queryset(request).filter(pk=wanted).first() if wanted else None
        if delivery is None:
            raise Http404("There is no such delivery; it may be too old to be kept.")
        event = Event.objects.filter(pk=delivery.event_id).first()
        attempts = Attempt.objects.filter(delivery_id=delivery.pk).order_by("-pk")[:ATTEMPTS_SHOWN]
        context = {
            **self.admin_site.each_context(request),
            **row_of(delivery, endpoint_names(request)),
            "opts": self.opts,
            "title": delivery.event_type,
            "message_id": message_id(delivery.event_id),
            "body": json.dumps(json.loads(event.body), indent=2, ensure_ascii=False) if event else None,
            "attempts": [shown.attempt(attempt) for attempt in attempts],
            "due": shown.moment(delivery.due_at),
            "pending": delivery.state == Delivery.State.PENDING,
            "finished": shown.moment(delivery.finished_at),
            "may_write": request.user.has_perm(WRITES),
        }
        return TemplateResponse(request, "admin/webhooks/delivery/change_form.html", context)

    def redeliver_view(self, request: HttpRequest) -> HttpResponse:
        """Have the chosen ones made again."""
        if request.method == "POST":
            if not request.user.has_perm(WRITES):
                raise PermissionDenied
            ids = [found for text in request.POST.getlist("delivery")[:1000] if (found := identifier(text))]
            count = deliveries.redeliver_many(self.get_queryset(request).filter(pk__in=ids))
            self.message_user(request, said(len(ids), count))
            if len(ids) == 1 and "one" in request.POST:
                return redirect("admin:webhooks_delivery_change", ids[0])
        kept = urlencode({name: value for name, value in request.POST.items() if name in FILTERS and value})
        return redirect(reverse("admin:webhooks_delivery_changelist") + (f"?{kept}" if kept else ""))


FILTERS = ("endpoint", "state", "event_type", "hours")


def filtered(found: QuerySet[Delivery], request: HttpRequest) -> QuerySet[Delivery]:
    """By endpoint, state, type and period. Values that mean nothing choose nothing."""
    if endpoint := request.GET.get("endpoint"):
        wanted = identifier(endpoint)
        found = found.filter(endpoint_id=wanted) if wanted else found.none()
    if state := request.GET.get("state"):
        found = found.filter(state=state)
    if event_type := request.GET.get("event_type"):
        found = found.filter(event_type=event_type)
    if (hours := request.GET.get("hours")) in PERIODS:
        # Ids begin with the time, and the tables are cut by them.
        found = found.filter(id__gte=first_uuid7(datetime.now(UTC) - timedelta(hours=int(hours or 1))))
    return found


def identifier(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def endpoint_names(request: HttpRequest) -> dict[UUID, str]:
    """The endpoints that this person may see, as choices and for the rows."""
    found = WebhookEndpoint.objects.visible_to(request.user).order_by("-id")[:ENDPOINTS_NAMED]
    return {endpoint.pk: str(endpoint) for endpoint in found}


def row_of(delivery: Delivery, names: dict[UUID, str]) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "endpoint_name": names.get(delivery.endpoint_id, ""),
        "shown_state": shown.state(delivery.state),
        "answer": shown.answer(delivery.last_status, delivery.last_error),
        "created": shown.moment(delivery.created_at),
    }


def said(wanted: int, count: int) -> str:
    if not wanted:
        return "Nothing was chosen: tick the deliveries that are to be made again."
    why = "are just being made, are too old, or have no endpoint any more"
    left = f" {wanted - count} {why}." if count < wanted else ""
    return f"{count:,} {'delivery is' if count == 1 else 'deliveries are'} made again.{left}"
