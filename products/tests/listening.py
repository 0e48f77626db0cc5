"""Somebody who wants to hear of events, and what he is told; every body is held against its schema."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from webhooks.event_types import EVENT_TYPES, MAX_BYTES
from webhooks.models import Delivery, Event, WebhookEndpoint


def listen(*event_types: str, **fields: Any) -> WebhookEndpoint:
    """An endpoint for these types, or for all. It is off, so that nothing is sent."""
    wanted = list(event_types or EVENT_TYPES)
    return WebhookEndpoint.objects.create(url="https://shop.example/hooks", event_types=wanted, enabled=False, **fields)


def told(endpoint: WebhookEndpoint | None = None) -> list[dict[str, Any]]:
    """The bodies of all events, or of those for one endpoint, in the order in which they were published."""
    events = Event.objects.order_by("id")
    if endpoint is not None:
        deliveries = Delivery.objects.filter(endpoint_id=endpoint.pk).order_by("id")
        assert deliveries.count() == deliveries.values("event_id").distinct().count(), "none is told twice"
        events = events.filter(pk__in=deliveries.values("event_id"))
    return [checked(event) for event in events]


def checked(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(event.body)
    schema = EVENT_TYPES[event.event_type].schema
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(body)
    assert set(body["data"]) <= set(schema["properties"]["data"]["properties"]), "all of it is described"
    assert len(event.body.encode()) <= MAX_BYTES
    return body


def types(endpoint: WebhookEndpoint | None = None) -> list[str]:
    return [body["type"] for body in told(endpoint)]
