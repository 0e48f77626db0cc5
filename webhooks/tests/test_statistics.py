"""How endpoints fare, for people and for Prometheus."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from webhooks import dispatcher, metrics, outbox, statistics
from webhooks.models import Delivery, EndpointMinute, EndpointState, WebhookEndpoint
from webhooks.tests.receivers import Answer, Got, endpoint_of, receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("local_receivers")]


def mixed(got: Got) -> Answer:
    return (500 if got.data["number"] % 4 == 0 else 200), {}, 0.0


def say(count: int) -> None:
    for number in range(count):
        outbox.publish("ping", {"number": number})


def test_a_summary_tells_of_the_last_day_and_of_what_waits() -> None:
    with receiving(mixed) as receiver:
        endpoint = endpoint_of(receiver, rate_per_second=10)
        quiet = WebhookEndpoint.objects.create(url=receiver.url, event_types=["import.started"])
        say(12)
        dispatcher.run()

    summary = statistics.summary([endpoint, quiet])
    busy = summary[endpoint.pk]
    assert busy["success_rate"] == 0.75
    assert 0 < (busy["p95_ms"] or 0) < 5000
    assert (busy["backlog"], busy["drain_seconds"]) == (3, 0)
    assert busy["oldest_due_at"] == Delivery.objects.filter(state="pending").earliest("due_at").due_at
    assert summary[quiet.pk] == {
        "success_rate": None,
        "p95_ms": None,
        "backlog": 0,
        "oldest_due_at": None,
        "drain_seconds": 0,
        "state": "ok",
    }


def test_what_is_older_than_a_day_does_not_count() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
    latencies = [0] * 14
    EndpointMinute.objects.create(
        endpoint_id=endpoint.pk, minute=Now() - timedelta(hours=25), outcome="success", attempts=1, latencies=latencies
    )

    assert statistics.summary([endpoint])[endpoint.pk]["success_rate"] is None


@pytest.mark.parametrize(
    ("fields", "state", "name"),
    [
        ({}, {}, "ok"),
        ({}, {"failing_since": Now()}, "failing"),
        ({}, {"failing_since": Now(), "open_until": Now() + timedelta(seconds=30)}, "deferred"),
        ({"enabled": False}, {"failing_since": Now()}, "paused"),
        ({"enabled": False, "disabled_reason": "It is gone."}, {}, "disabled"),
    ],
)
def test_an_endpoint_is_in_one_of_five_states(fields: dict[str, Any], state: dict[str, Any], name: str) -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://shop.example/", event_types=["ping"], **fields)
    EndpointState.objects.create(endpoint=endpoint, **state)

    assert statistics.summary([endpoint])[endpoint.pk]["state"] == name


def test_minutes_are_kept_as_long_as_deliveries(settings: Any) -> None:
    settings.WEBHOOK_RETENTION_DAYS = 30
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
    for days in (1, 29, 31):
        EndpointMinute.objects.create(
            endpoint_id=endpoint.pk, minute=Now() - timedelta(days=days), outcome="success", attempts=1, latencies=[1]
        )

    assert statistics.drop_expired() == 1
    assert EndpointMinute.objects.count() == 2


class Collector:
    def collect(self) -> Any:
        return metrics.collect()


def scraped() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """As Prometheus reads it: by name and labels, those of endpoints left out."""
    registry = CollectorRegistry()
    registry.register(Collector())
    return {
        (
            sample.name,
            frozenset((key, value) for key, value in sample.labels.items() if key != "endpoint"),
        ): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"odata_webhook_{name}", frozenset(labels.items())


def test_prometheus_is_told_of_attempts_latencies_backlog_breaker_and_lag() -> None:
    with receiving(mixed) as receiver:
        endpoint = endpoint_of(receiver)
        say(12)
        dispatcher.run()
    Delivery.objects.filter(state="pending").update(due_at=Now() - timedelta(seconds=90))

    seen = scraped()

    assert seen[of("attempts_total", outcome="success")] == 9
    assert seen[of("attempts_total", outcome="http_5xx")] == 3
    assert seen[of("attempt_seconds_count")] == seen[of("attempt_seconds_bucket", le="+Inf")] == 12
    assert (seen[of("backlog")], seen[of("in_flight")], seen[of("breaker")], seen[of("enabled")]) == (3, 0, 0, 1)
    assert 90 <= seen[of("backlog_age_seconds")] == seen[of("outbox_lag_seconds")] < 120

    EndpointState.objects.filter(pk=endpoint.pk).update(open_until=Now() + timedelta(seconds=30))
    seen = scraped()
    assert (seen[of("breaker")], seen[of("outbox_lag_seconds")]) == (2, 0)
    EndpointState.objects.filter(pk=endpoint.pk).update(open_until=Now())
    assert scraped()[of("breaker")] == 1


def test_without_an_endpoint_the_lag_is_told_all_the_same() -> None:
    assert scraped()[of("outbox_lag_seconds")] == 0
