"""Deliveries as people have to do with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from common.errors import ConflictError
from webhooks import deliveries, dispatcher, endpoints, outbox
from webhooks.models import Attempt, Delivery, EndpointState, Event, WebhookEndpoint
from webhooks.partitions import first_id_of
from webhooks.tests.receivers import endpoint_of, receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("local_receivers")]


def test_one_is_made_again_with_the_same_id_and_a_new_time() -> None:
    with receiving() as receiver:
        endpoint_of(receiver)
        outbox.publish("ping", {})
        dispatcher.run()
        again = deliveries.redeliver(Delivery.objects.get())

        assert (again.state, again.attempts, again.trigger, again.finished_at) == ("pending", 0, "redelivery", None)
        dispatcher.run()
    assert len(set(receiver.ids)) == 1 and len(receiver.got) == 2
    assert receiver.got[0].body == receiver.got[1].body
    assert Delivery.objects.get().state == "delivered"


def test_one_that_is_just_being_made_is_left_alone() -> None:
    with receiving() as receiver:
        endpoint_of(receiver)
        outbox.publish("ping", {})
        Delivery.objects.update(claim=F("id"), claimed_until=Now() + timedelta(seconds=30))

        assert deliveries.redeliver(Delivery.objects.get()).trigger == "schedule"


def test_all_of_an_endpoint_are_made_again_in_chunks_and_at_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "CHUNK", 7)
    with receiving() as receiver:
        endpoint = endpoint_of(receiver, rate_per_second=20)
        for _ in range(30):
            outbox.publish("ping", {})
        Delivery.objects.update(state="failed", attempts=10)

        assert deliveries.redeliver_many(Delivery.objects.filter(endpoint_id=endpoint.pk, state="failed")) == 30
        dispatcher.run()
    assert Delivery.objects.filter(state="delivered", attempts=1).count() == 30
    assert receiver.got[-1].at - receiver.got[0].at > 1


def test_those_of_others_and_of_another_time_are_left_alone() -> None:
    with receiving() as receiver:
        endpoint, other = endpoint_of(receiver), endpoint_of(receiver)
        outbox.publish("ping", {})
        Delivery.objects.update(state="delivered")
        found = Delivery.objects.filter(endpoint_id=endpoint.pk)
        tomorrow = first_id_of((datetime.now(UTC) + timedelta(days=1)).date())

        assert deliveries.redeliver_many(found.filter(id__gte=tomorrow)) == 0
        assert deliveries.redeliver_many(found) == 1
    assert [each.endpoint_id for each in Delivery.objects.filter(state="delivered")] == [other.pk]


def test_what_an_endpoint_that_was_removed_was_told_is_not_made_again() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        outbox.publish("ping", {})
        Delivery.objects.update(state="delivered")
        endpoints.delete(endpoint, actor=None)

        assert deliveries.redeliver_many(Delivery.objects.all()) == 0
        with pytest.raises(ConflictError, match="was removed"):
            deliveries.redeliver(Delivery.objects.get())
    assert Delivery.objects.get().state == "delivered"


def test_a_test_is_not_among_what_failed_since_a_time() -> None:
    with receiving(lambda got: (503, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver)
        deliveries.send_test(endpoint, "product.deleted")
        outbox.publish("ping", {})
        Delivery.objects.update(state="failed")

        found = deliveries.of_period(endpoint, datetime.now(UTC) - timedelta(hours=1))
        assert [delivery.event_type for delivery in found] == ["ping"]


def test_what_waits_is_discarded_and_what_was_delivered_stays() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        outbox.publish("ping", {})
        Delivery.objects.update(state="delivered")
        outbox.publish("ping", {})

        assert deliveries.discard(endpoint) == 1
        assert dispatcher.run() == 0
    assert sorted(Delivery.objects.values_list("state", flat=True)) == ["delivered", "discarded"]


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (500, "failed")])
def test_a_test_is_sent_at_once_and_once_and_is_in_the_log(status: int, state: str) -> None:
    with receiving(lambda got: (status, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver, enabled=False)

        attempt = deliveries.send_test(endpoint, "import.completed")

        assert (attempt.status, attempt.trigger, attempt.number) == (status, "test", 1)
        assert [got.id for got in receiver.got] == [Event.objects.get().message_id]
    assert Attempt.objects.get() == attempt
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.trigger, delivery.event_type) == (state, "test", "import.completed")
    assert not EndpointState.objects.filter(failing_since__isnull=False).exists()
    assert dispatcher.run() == 0


def test_a_test_that_connects_to_nobody_says_why() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        WebhookEndpoint.objects.update(url="http://10.0.0.1/")
        endpoint.refresh_from_db()

        attempt = deliveries.send_test(endpoint, "ping")

    assert (attempt.status, attempt.error) == (None, "refused")
    assert attempt.detail


def test_there_is_no_test_of_an_unknown_type() -> None:
    with receiving() as receiver, pytest.raises(ValueError, match="no type of event"):
        deliveries.send_test(endpoint_of(receiver), "product.painted")
