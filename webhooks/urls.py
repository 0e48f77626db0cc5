"""Addresses of webhooks, for programs. The fixed words stand before the ids."""

from __future__ import annotations

from typing import Any

from django.urls import path

from webhooks.api.deliveries import AttemptViewSet, DeliveryViewSet
from webhooks.api.endpoints import EndpointViewSet
from webhooks.api.event_types import EventTypesView
from webhooks.api.originals import OriginalWebhookViewSet

BASE = "api/v1/webhooks/"

endpoint_detail = EndpointViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
)


def endpoint_action(name: str) -> Any:
    return path(
        f"{BASE}<str:endpoint_id>/{name}/", EndpointViewSet.as_view({"post": name}), name=f"api-endpoint-{name}"
    )


def with_or_without_slash(route: str, actions: dict[str, Any]) -> list[Any]:
    """An original path, which is known by both spellings; the schema shows the one without."""
    return [
        path(f"{route}/", OriginalWebhookViewSet.as_view(actions, schema=None)),
        path(route, OriginalWebhookViewSet.as_view(actions)),
    ]


urlpatterns = [
    path(BASE, EndpointViewSet.as_view({"get": "list", "post": "create"}), name="api-endpoint-list"),
    path(f"{BASE}event-types/", EventTypesView.as_view(), name="webhook-event-types"),
    path(f"{BASE}deliveries/", DeliveryViewSet.as_view({"get": "list"}), name="api-delivery-list"),
    path(f"{BASE}deliveries/redeliver/", DeliveryViewSet.as_view({"post": "redeliver_many"}), name="api-redeliver"),
    path(f"{BASE}deliveries/<str:delivery_id>/", DeliveryViewSet.as_view({"get": "retrieve"}), name="api-delivery"),
    path(
        f"{BASE}deliveries/<str:delivery_id>/redeliver/",
        DeliveryViewSet.as_view({"post": "redeliver"}),
        name="api-delivery-redeliver",
    ),
    path(f"{BASE}attempts/", AttemptViewSet.as_view({"get": "list"}), name="api-attempt-list"),
    path(f"{BASE}attempts/<str:attempt_id>/", AttemptViewSet.as_view({"get": "retrieve"}), name="api-attempt"),
    path(f"{BASE}<str:endpoint_id>/", endpoint_detail, name="api-endpoint-detail"),
    *map(endpoint_action, ("rotate", "test", "pause", "resume")),
    *with_or_without_slash("webhooks/create", {"post": "create"}),
    *with_or_without_slash("webhooks/getall", {"get": "list_all"}),
    *with_or_without_slash("webhooks/update_by_id/<path:url>/<str:status>", {"put": "switch"}),
    *with_or_without_slash("webhooks/del_by_url/<path:url>", {"delete": "destroy"}),
]
