"""How endpoints fare: for those who look at them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypedDict

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from webhooks import outcomes
from webhooks.models import EndpointMinute, EndpointState, WebhookEndpoint

LATENCIES = ", ".join(f"coalesce(sum(latencies[{number}]), 0)" for number in range(1, len(outcomes.BUCKETS_MS) + 2))
OF_A_DAY = f"""
SELECT endpoint_id, sum(attempts), coalesce(sum(attempts) FILTER (WHERE outcome = '{outcomes.SUCCESS}'), 0), {LATENCIES}
  FROM webhooks_endpointminute
 WHERE endpoint_id = ANY (%s) AND minute > statement_timestamp() - interval '24 hours'
 GROUP BY endpoint_id
"""  # noqa: S608 - our own words
BACKLOG = """
SELECT endpoint_id, count(*), min(due_at) FILTER (WHERE claim IS NULL)
  FROM webhooks_delivery_pending
 WHERE endpoint_id = ANY (%s)
 GROUP BY endpoint_id
"""


class Summary(TypedDict):
    success_rate: float | None
    """Share of the attempts of the last 24 hours that were successes; None without one."""
    p95_ms: int | None
    """95 % of these took no longer."""
    backlog: int
    """Deliveries that are still to be made."""
    oldest_due_at: datetime | None
    """When the one that has waited longest, or comes next, is or was due."""
    drain_seconds: int | None
    """How long the backlog takes at the endpoint's rate; None while nothing is sent to it."""
    state: str
    """`ok`, `failing`, `deferred` (its breaker is open), `paused` (by a person) or `disabled` (by the service)."""


def summary(endpoints: Iterable[WebhookEndpoint]) -> dict[uuid.UUID, Summary]:
    """How each of these fares, in three queries."""
    endpoints = list(endpoints)
    ids = [endpoint.pk for endpoint in endpoints]
    days = {row[0]: row[1:] for row in _rows(OF_A_DAY, ids)}
    backlogs = {row[0]: row[1:] for row in _rows(BACKLOG, ids)}
    states = EndpointState.objects.in_bulk(ids)
    return {
        endpoint.pk: _summary(
            endpoint, days.get(endpoint.pk, (0, 0)), backlogs.get(endpoint.pk, (0, None)), states.get(endpoint.pk)
        )
        for endpoint in endpoints
    }


def _summary(
    endpoint: WebhookEndpoint, day: tuple[Any, ...], backlog: tuple[int, datetime | None], state: EndpointState | None
) -> Summary:
    attempts, successes, *latencies = (int(number) for number in day)
    waiting, oldest = backlog
    now_is = state_of(endpoint, state)
    rate = (state.rate if state and endpoint.adaptive_rate else None) or endpoint.rate_per_second
    return Summary(
        success_rate=successes / attempts if attempts else None,
        p95_ms=outcomes.quantile(latencies, 0.95),
        backlog=waiting,
        oldest_due_at=oldest,
        drain_seconds=None if now_is in ("paused", "disabled", "deferred") else round(waiting / rate),
        state=now_is,
    )


def state_of(endpoint: WebhookEndpoint, state: EndpointState | None) -> str:
    if not endpoint.enabled:
        return "disabled" if endpoint.disabled_reason else "paused"
    if state and state.open_until:
        return "deferred"
    return "failing" if state and state.failing_since else "ok"


def drop_expired() -> int:
    """Remove the minutes that are older than WEBHOOK_RETENTION_DAYS; returns how many rows that were."""
    return EndpointMinute.objects.filter(
        minute__lt=Now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    )._raw_delete("default")


def _rows(sql: str, ids: list[uuid.UUID]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [ids])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
