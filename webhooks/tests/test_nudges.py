"""How the workers hear that there is something to deliver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import redis
from celery import current_app
from django.conf import settings
from django.db import transaction

from odata.tests.running import free_port
from webhooks import outbox, tasks
from webhooks.models import Delivery, WebhookEndpoint


@pytest.fixture
def waiting() -> Iterator[Callable[[], int]]:
    """How many messages wait for dispatchers; none at first."""
    with redis.Redis.from_url(settings.REDIS_URL) as valkey:
        valkey.delete("webhooks")
        yield lambda: int(valkey.llen("webhooks"))
        valkey.delete("webhooks")


@pytest.fixture(autouse=True)
def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_last_nudge", -tasks.NUDGE_SECONDS)
    WebhookEndpoint.objects.create(url="https://shop.example/", event_types=["ping"])


pytestmark = pytest.mark.django_db(transaction=True)


def test_a_commit_rings_and_a_roll_back_does_not(waiting: Callable[[], int]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        outbox.publish("ping", {})
        raise ZeroDivisionError
    assert waiting() == 0

    outbox.publish("ping", {})
    assert waiting() == 1


def test_many_commits_ring_seldom(waiting: Callable[[], int]) -> None:
    started = time.monotonic()
    for _ in range(50):
        outbox.publish("ping", {})
    seconds = time.monotonic() - started

    assert 1 <= waiting() <= 1 + seconds / tasks.NUDGE_SECONDS


def test_a_queue_that_is_down_is_no_error_for_those_who_publish(caplog: pytest.LogCaptureFixture) -> None:
    before = current_app.conf.broker_url
    current_app.conf.broker_url = f"redis://127.0.0.1:{free_port()}/0"
    current_app._pool = None
    current_app.amqp._producer_pool = None
    try:
        outbox.publish("ping", {})
    finally:
        current_app.conf.broker_url = before
        current_app._pool = None
        current_app.amqp._producer_pool = None

    assert Delivery.objects.count() == 1
    assert "webhook_nudge_not_sent" in caplog.text
