"""Webhooks of the whole service: no event is lost, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.tests.waiting import wait_until
from tests.acceptance.endurance import endure, kill, listen, nothing_waits, run, running
from tests.acceptance.service import Service
from webhooks.tests.receivers import Receiver, receiving

SEED = 20_261_125


@pytest.fixture
def receiver(service: Service) -> Iterator[Receiver]:
    with receiving(port=service.receiver_port) as receiver:
        yield receiver


def test_events_survive_dispatchers_that_are_killed_and_a_queue_that_is_emptied(
    service: Service, receiver: Receiver
) -> None:
    endured = endure(service, receiver, events=3_000, kills=5, flushes=2, per_second=300, seed=SEED, seconds=120)

    assert endured.said.total() == 3_000
    assert endured.lost == 0
    assert endured.came.keys() <= endured.said.keys()
    assert endured.duplicates <= endured.in_hand
    settled = service.query("SELECT state, count(*) AS number FROM webhooks_delivery GROUP BY state")
    assert settled == [{"state": "delivered", "number": 3_000}]


def test_an_event_is_delivered_within_a_second_or_so_of_its_commit(service: Service, receiver: Receiver) -> None:
    listen(service, receiver)

    run(service, "from webhooks import outbox; outbox.publish('ping', {})")

    wait_until(lambda: receiver.got, "it comes", 5)


def test_events_that_nobody_was_told_of_are_delivered_all_the_same(service: Service, receiver: Receiver) -> None:
    listen(service, receiver)
    service.stop("valkey")
    run(service, "from webhooks import outbox; outbox.publish('ping', {})")
    service.start_valkey()

    wait_until(lambda: receiver.got, "the next tick finds it")
    wait_until(lambda: nothing_waits(service), "it is written down")


def test_a_dispatcher_that_is_stopped_in_order_finishes_what_is_on_its_way(
    service: Service, receiver: Receiver
) -> None:
    receiver.answer = lambda got: (200, {}, 0.5)
    listen(service, receiver)
    with running(service, "from webhooks import outbox; [outbox.publish('ping', {}) for _ in range(600)]"):
        wait_until(lambda: receiver.open > 0, "they are on their way")
        service.stop("webhooks")

    assert not service.query("SELECT id FROM webhooks_delivery_pending WHERE claim IS NOT NULL")
    service.start("webhooks")
    wait_until(lambda: nothing_waits(service), "the rest is delivered")
    assert len(receiver.got) == len(set(receiver.ids)) == 600


def test_a_killed_dispatcher_is_followed_by_another(service: Service, receiver: Receiver) -> None:
    receiver.answer = lambda got: (200, {}, 9.0)
    listen(service, receiver, timeout_seconds=10)
    with running(service, "from webhooks import outbox; [outbox.publish('ping', {}) for _ in range(20)]"):
        wait_until(lambda: receiver.open > 0, "they are on their way")
        assert kill(service) > 0

    receiver.answer = lambda got: (200, {}, 0.0)
    wait_until(lambda: nothing_waits(service), "all are delivered")
    assert len(set(receiver.ids)) == 20
