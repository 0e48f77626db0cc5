"""Prometheus: how webhooks fare, for those who watch over the service.

Attempts are counted in the row that each endpoint has, with their results, so that a scrape reads few rows and no
process holds a part of the truth. A counter starts anew with an endpoint that is removed and made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db import connection
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from webhooks import outcomes

ENDPOINTS = """
SELECT endpoint.id::text AS endpoint, endpoint.enabled, state.totals, state.latencies, state.latency_ms,
       state.open_until IS NOT NULL AS is_open, state.open_until <= statement_timestamp() AS probes,
       state.rate, endpoint.rate_per_second,
       coalesce(backlog.number, 0) AS backlog, coalesce(backlog.claimed, 0) AS claimed,
       greatest(coalesce(extract(epoch FROM statement_timestamp() - backlog.oldest), 0), 0)::float8 AS age
  FROM webhooks_webhookendpoint AS endpoint
  LEFT JOIN webhooks_endpointstate AS state ON state.endpoint_id = endpoint.id
  LEFT JOIN (
           SELECT endpoint_id, count(*) AS number, count(claim) AS claimed, min(due_at) AS oldest
             FROM webhooks_delivery_pending
            GROUP BY endpoint_id
       ) AS backlog ON backlog.endpoint_id = endpoint.id
 ORDER BY endpoint.id
"""
CLOSED, HALF_OPEN, OPEN = 0, 1, 2


def collect() -> Iterable[Metric]:
    rows = _rows()
    yield from _attempts(rows)
    yield from _backlog(rows)
    yield _lag(rows)


def _rows() -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(ENDPOINTS)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _attempts(rows: list[dict[str, Any]]) -> Iterable[Metric]:
    attempts = CounterMetricFamily(
        "odata_webhook_attempts", "Attempts to deliver webhooks, by what came of them.", labels=["endpoint", "outcome"]
    )
    seconds = HistogramMetricFamily(
        "odata_webhook_attempt_seconds", "How long attempts to deliver webhooks took.", labels=["endpoint"]
    )
    for row in rows:
        for outcome, number in sorted(_decoded(row["totals"]).items()):
            attempts.add_metric([row["endpoint"], outcome], number)
        if row["latencies"]:
            seconds.add_metric([row["endpoint"]], _buckets(row["latencies"]), row["latency_ms"] / 1000)
    yield attempts
    yield seconds


def _buckets(latencies: list[int]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket also what is in those below it."""
    bounds = [*(str(bound / 1000) for bound in outcomes.BUCKETS_MS), "+Inf"]
    return [(bound, float(sum(latencies[: number + 1]))) for number, bound in enumerate(bounds)]


def _backlog(rows: list[dict[str, Any]]) -> Iterable[Metric]:
    for name, column, what in (
        ("backlog", "backlog", "Deliveries that are still to be made."),
        ("in_flight", "claimed", "Deliveries that are being made."),
        ("backlog_age_seconds", "age", "Seconds that the delivery which has been due longest is late."),
    ):
        gauge = GaugeMetricFamily(f"odata_webhook_{name}", what, labels=["endpoint"])
        for row in rows:
            gauge.add_metric([row["endpoint"]], row[column])
        yield gauge
    breaker = GaugeMetricFamily(
        "odata_webhook_breaker", "The endpoint's breaker: 0 closed, 1 half open, 2 open.", labels=["endpoint"]
    )
    enabled = GaugeMetricFamily("odata_webhook_enabled", "Whether the endpoint is on.", labels=["endpoint"])
    for row in rows:
        breaker.add_metric([row["endpoint"]], HALF_OPEN if row["probes"] else OPEN if row["is_open"] else CLOSED)
        enabled.add_metric([row["endpoint"]], int(row["enabled"]))
    yield breaker
    yield enabled


def _lag(rows: list[dict[str, Any]]) -> Metric:
    """What an alert is set on: endpoints that are off, or rest by their breaker, are late for reasons of their own."""
    late = [row["age"] for row in rows if row["enabled"] and not row["is_open"]]
    return GaugeMetricFamily(
        "odata_webhook_outbox_lag_seconds",
        "Seconds that the delivery which has been due longest is late, of endpoints that are on and work.",
        value=max(late, default=0.0),
    )


def _decoded(totals: str | None) -> dict[str, int]:
    """Django has its own cursors leave JSON as text."""
    return dict(json.loads(totals)) if totals else {}
