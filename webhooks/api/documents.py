"""What of endpoints, deliveries and attempts is shown: never a secret, nor the value of a header."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from webhooks import endpoints, keys, statistics
from webhooks.models import Attempt, Delivery, EndpointSecret, Event, Lane, WebhookEndpoint, message_id

ATTEMPTS_SHOWN = 50

PLAIN = (
    "id",
    "url",
    "description",
    "event_types",
    "enabled",
    "disabled_at",
    "disabled_reason",
    "signatures",
    "timeout_seconds",
    "rate_per_second",
    "adaptive_rate",
    "concurrency",
    "ordered",
    "retry_delays",
    "batch_items",
    "created_at",
    "updated_at",
)


def endpoint_documents(found: Iterable[WebhookEndpoint]) -> list[dict[str, Any]]:
    """All about some endpoints; how they fare is asked for all at once."""
    shown = list(found)
    health = statistics.summary(shown)
    return [
        {
            **{name: getattr(endpoint, name) for name in PLAIN},
            "public_key": keys.public_key(endpoint),
            "secrets": [_secret(each) for each in endpoint.secrets.all()],
            "headers": endpoints.masked_headers(endpoint),
            "created_by": endpoint.created_by.get_username() if endpoint.created_by else None,
            "health": health[endpoint.pk],
        }
        for endpoint in shown
    ]


def _secret(secret: EndpointSecret) -> dict[str, Any]:
    return {"kind": secret.kind, "created_at": secret.created_at, "expires_at": secret.expires_at}


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "endpoint": delivery.endpoint_id,
        "event_id": message_id(delivery.event_id),
        "event_type": delivery.event_type,
        "state": delivery.state,
        "lane": Lane(delivery.lane).name.lower(),
        "trigger": delivery.trigger,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.due_at if delivery.state == Delivery.State.PENDING else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "created_at": delivery.created_at,
        "finished_at": delivery.finished_at,
    }


def delivery_detail(delivery: Delivery) -> dict[str, Any]:
    event = Event.objects.filter(pk=delivery.event_id).first()
    attempts = Attempt.objects.filter(delivery_id=delivery.pk)[:ATTEMPTS_SHOWN]
    return {
        **delivery_document(delivery),
        "body": json.loads(event.body) if event else None,
        "attempt_log": [attempt_document(attempt) for attempt in attempts],
    }


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    return {
        "id": attempt.pk,
        "delivery": attempt.delivery_id,
        "endpoint": attempt.endpoint_id,
        "event_id": message_id(attempt.event_id),
        **{
            name: getattr(attempt, name)
            for name in (
                "number",
                "trigger",
                "started_at",
                "url",
                "request_headers",
                "address",
                "status",
                "error",
                "detail",
                "reply_headers",
                "reply",
                "reused",
                "dns_ms",
                "connect_ms",
                "tls_ms",
                "first_byte_ms",
                "total_ms",
            )
        },
    }
