"""Addresses of webhooks, for programs. The fixed words stand before the ids."""

from __future__ import annotations

from django.urls import URLPattern, path

from common.original_paths import with_or_without_slash
from webhooks.api.deliveries import AttemptViewSet, DeliveryViewSet
from webhooks.api.endpoints import EndpointViewSet
from webhooks.api.event_types import EventTypesView
from webhooks.api.originals import OriginalWebhookViewSet

BASE = "api/v1/webhooks/"

endpoint_detail = EndpointViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
)


def endpoint_action(name: str) -> URLPattern:
    return path(
        f"{BASE}<str:endpoint_id>/{name}/", EndpointViewSet.as_view({"post": name}), name=f"api-endpoint-{name}"
    )


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
    *with_or_without_slash("webhooks/create", OriginalWebhookViewSet, {"post": "create"}),
    *with_or_without_slash("webhooks/getall", OriginalWebhookViewSet, {"get": "list_all"}),
    *with_or_without_slash("webhooks/update_by_id/<path:url>/<str:status>", OriginalWebhookViewSet, {"put": "switch"}),
    *with_or_without_slash("webhooks/del_by_url/<path:url>", OriginalWebhookViewSet, {"delete": "destroy"}),
]
