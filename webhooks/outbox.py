"""Saying what happened, in the same transaction that makes it so."""

from __future__ import annotations

from typing import Any

from webhooks.models import OutboxEvent


def publish(event_type: str, data: dict[str, Any]) -> OutboxEvent:
    """Write one event to the outbox of the current transaction. `data` must be JSON already."""
    return OutboxEvent.objects.create(event_type=event_type, payload=data)
