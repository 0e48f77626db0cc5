"""What the dispatcher does with what is due."""

from __future__ import annotations

from typing import Any

import pytest

from webhooks import dispatcher, outbox
from webhooks.models import Attempt, Delivery, EndpointMinute, EndpointState, Event, message_id
from webhooks.tests.receivers import endpoint_of, receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("local_receivers")]


def say(count: int = 1, **options: Any) -> list[str]:
    """Publish so many events; returns their `webhook-id`s."""
    ids = [outbox.publish("ping", {"number": number}, **options) for number in range(count)]
    return [message_id(each) for each in ids if each]


def test_what_is_due_is_delivered_once_and_written_down() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        said = say(30)

        assert dispatcher.run() == 30

    assert sorted(receiver.ids) == sorted(said)
    assert {got.body.decode() for got in receiver.got} == set(Event.objects.values_list("body", flat=True))
    assert Delivery.objects.filter(state="delivered", attempts=1, last_status=200, claim=None).count() == 30
    attempt = Attempt.objects.first()
    assert attempt is not None
    assert (attempt.status, attempt.url, attempt.number, attempt.address) == (200, endpoint.url, 1, "127.0.0.1")
    assert Attempt.objects.filter(reused=True).exists()
    assert sum(EndpointMinute.objects.filter(outcome="success").values_list("attempts", flat=True)) == 30
    assert EndpointState.objects.get(pk=endpoint.pk).totals == {"success": 30}


def test_nothing_to_do_is_done_at_once() -> None:
    assert dispatcher.run() == 0
