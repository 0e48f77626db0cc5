"""Endpoints in the admin: how they fare, what they are told, a test at once, new secrets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import person
from common.errors import InvalidInputError, ServiceError
from common.parameters import whole_number
from webhooks import deliveries, endpoints, keys, statistics
from webhooks.admin import shown
from webhooks.admin.forms import EndpointForm
from webhooks.event_types import EVENT_TYPES
from webhooks.models import Attempt, Delivery, WebhookEndpoint

if TYPE_CHECKING:
    EndpointAdminBase = admin.ModelAdmin[WebhookEndpoint]
else:
    EndpointAdminBase = admin.ModelAdmin

WRITES = "webhooks.change_webhookendpoint"


class HealthyList(ChangeList):
    """A page of endpoints, each with how it fares: asked for all of them at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_health(self.result_list)


def with_health(found: Any) -> list[WebhookEndpoint]:
    rows = list(found)
    health = statistics.summary(rows)
    for endpoint in rows:
        endpoint.health = health[endpoint.pk]
    return rows


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(EndpointAdminBase):
    form = EndpointForm
    list_display = ("name", "shown_state", "success", "p95", "backlog", "last_success")
    list_select_related = ("state",)
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    actions = None
    show_full_result_count = False
    search_fields = ("url", "description")
    search_help_text = "Part of the URL or the description."
    fieldsets = (
        (None, {"fields": ("url", "description", "enabled", "event_types")}),
        ("Signatures and headers", {"fields": ("signatures", "headers")}),
        (
            "Pace",
            {
                "fields": (
                    "timeout_seconds",
                    "rate_per_second",
                    "adaptive_rate",
                    "concurrency",
                    "ordered",
                    "retry_delays",
                    "batch_items",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        """Their own, or all by permission."""
        return super().get_queryset(request) & WebhookEndpoint.objects.visible_to(request.user)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HealthyList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist = super().get_changelist_instance(request)
        changelist.title = "Webhook endpoints"
        return changelist

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<uuid:endpoint_id>/{name}/",
                self.admin_site.admin_view(self.acting(getattr(self, name))),
                name=f"webhooks_webhookendpoint_{name}",
            )
            for name in ("test", "rotate", "pause", "resume", "redeliver")
        ]
        return [*own, *super().get_urls()]

    # --- the list ---------------------------------------------------------------------------------

    @admin.display(description="Endpoint")
    def name(self, endpoint: WebhookEndpoint) -> SafeString | str:
        if not endpoint.description:
            return endpoint.url
        return format_html('{}<br><span class="quiet">{}</span>', endpoint.description, endpoint.url)

    @admin.display(description="State")
    def shown_state(self, endpoint: Any) -> SafeString:
        return shown.state(endpoint.health["state"])

    @admin.display(description="Success, 24 h")
    def success(self, endpoint: Any) -> str:
        return shown.share(endpoint.health["success_rate"])

    @admin.display(description="p95")
    def p95(self, endpoint: Any) -> str:
        return shown.milliseconds(endpoint.health["p95_ms"])

    @admin.display(description="Waiting")
    def backlog(self, endpoint: Any) -> str:
        return shown.backlog(endpoint.health)

    @admin.display(description="Last success")
    def last_success(self, endpoint: WebhookEndpoint) -> SafeString:
        return shown.moment(last_success_of(endpoint))

    # --- one endpoint -----------------------------------------------------------------------------

    @admin.display(description="Headers")
    def headers(self, endpoint: WebhookEndpoint) -> str:
        """For those who may only look."""
        return ", ".join(endpoints.masked_headers(endpoint)) or "–"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        endpoint = self.get_object(request, unquote(object_id))
        context = self._panels(request, endpoint) if endpoint else {}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    @staticmethod
    def _panels(request: HttpRequest, endpoint: WebhookEndpoint) -> dict[str, Any]:
        health: Any = statistics.summary([endpoint])[endpoint.pk]
        return {
            "health": {
                **health,
                "shown_state": shown.state(health["state"]),
                "explained": shown.EXPLAINED.get(health["state"], ""),
                "success": shown.share(health["success_rate"]),
                "p95": shown.milliseconds(health["p95_ms"]),
                "waiting": shown.backlog(health),
                "oldest": shown.moment(health["oldest_due_at"]),
                "last_success": shown.moment(last_success_of(endpoint)),
            },
            "public_key": keys.public_key(endpoint),
            "tested": tested(request, endpoint),
            "test_types": endpoint.event_types,
            "other_types": [name for name in EVENT_TYPES if name not in endpoint.event_types],
            "may_write": request.user.has_perm(WRITES),
            "log": f"{reverse('admin:webhooks_delivery_changelist')}?endpoint={endpoint.pk}",
        }

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.Meta.fields}
        if change:
            changed = {name: value for name, value in values.items() if name in form.changed_data}
            _, secret = endpoints.update(obj, changed, actor=person(request))
        else:
            made, secret = endpoints.create(values, actor=person(request))
            obj.pk = made.pk
        show_once(request, secret)

    def response_add(
        self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        """To its page, where it can be tested."""
        return self.page_of(obj.pk)

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        endpoints.delete(obj, actor=person(request))

    @staticmethod
    def page_of(endpoint_id: UUID, more: str = "") -> HttpResponseRedirect:
        return redirect(reverse("admin:webhooks_webhookendpoint_change", args=[endpoint_id]) + more)

    # --- what its buttons do ----------------------------------------------------------------------

    def acting(self, act: Any) -> Any:
        """A view that does something with an endpoint, and leads back to its page."""

        def view(request: HttpRequest, endpoint_id: UUID) -> HttpResponse:
            if request.method != "POST":
                return self.page_of(endpoint_id)
            if not request.user.has_perm(WRITES):
                raise PermissionDenied
            endpoint = WebhookEndpoint.objects.visible_to(request.user).filter(pk=endpoint_id).first()
            if endpoint is None:
                raise Http404("There is no such endpoint.")
            try:
                more = act(request, endpoint) or ""
            except ServiceError as error:
                self.message_user(request, error.detail, messages.ERROR)
                more = ""
            return self.page_of(endpoint.pk, more)

        return view

    def test(self, request: HttpRequest, endpoint: WebhookEndpoint) -> str:
        """Send an example; what came of it is shown on the page."""
        event_type = request.POST.get("event_type", "")
        if event_type not in EVENT_TYPES:
            raise InvalidInputError("Choose a type of event.", code="unknown_event_type")
        return f"?tested={deliveries.send_test(endpoint, event_type).pk}#test"

    def rotate(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        hours = whole_number(request.POST.get("overlap_hours", ""), 999)
        if hours is None:
            raise InvalidInputError("The overlap is a whole number of hours, from 0 to 168.", code="invalid_overlap")
        show_once(request, endpoints.rotate(endpoint, timedelta(hours=hours), actor=person(request)))
        self.log_change(request, endpoint, "Changed its secret.")
        self.message_user(request, f"New keys sign from now on; the old ones sign as well for {hours} hours.")

    def pause(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        endpoints.update(endpoint, {"enabled": False}, actor=person(request))
        self.log_change(request, endpoint, "Paused it.")
        days = settings.WEBHOOK_RETENTION_DAYS
        self.message_user(request, f"Paused. What there is to deliver waits, for {days} days at most.")

    def resume(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        endpoints.update(endpoint, {"enabled": True}, actor=person(request))
        self.log_change(request, endpoint, "Resumed it.")
        self.message_user(request, "Resumed. What waited is delivered now, at the endpoint's rate.")

    def redeliver(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        since, until = (moment_of(request.POST.get(name, ""), name) for name in ("since", "until"))
        if since is None:
            raise InvalidInputError("Say since when deliveries are to be made again.", code="incomplete")
        state = "all" if request.POST.get("state") == "all" else Delivery.State.FAILED
        count = deliveries.redeliver_many(deliveries.of_period(endpoint, since, until, state))
        self.log_change(request, endpoint, f"Asked for {count} deliveries again.")
        self.message_user(
            request, "1 delivery is made again." if count == 1 else f"{count:,} deliveries are made again."
        )


def last_success_of(endpoint: WebhookEndpoint) -> datetime | None:
    state = getattr(endpoint, "state", None)
    return state.last_success_at if state else None


def tested(request: HttpRequest, endpoint: WebhookEndpoint) -> dict[str, Any] | None:
    """The attempt that the test button made, if this is the page after it."""
    try:
        wanted = UUID(request.GET.get("tested", ""))
    except ValueError:
        return None
    made = Attempt.objects.filter(pk=wanted, endpoint_id=endpoint.pk).first()
    return shown.attempt(made) if made else None


def moment_of(text: str, name: str) -> datetime | None:
    """What a `datetime-local` field says, in UTC; None where it is empty. Raises InvalidInputError."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInputError(f"`{name}` is no time: write 2026-03-01T12:00.", code="invalid_time") from None


def show_once(request: HttpRequest, secret: str | None) -> None:
    if secret:
        messages.warning(
            request,
            format_html(
                'Copy the secret now, it is not shown again: <code class="secret">{}</code>. Its receiver checks '
                "signatures with it; docs/verify-webhooks.md says how, with code in Python and JavaScript.",
                secret,
            ),
        )
