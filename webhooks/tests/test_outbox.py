"""Saying what happened."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from django.db import transaction

from webhooks import outbox
from webhooks.models import Delivery, Event, Lane, WebhookEndpoint


def listening(*event_types: str, enabled: bool = True) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        url="https://listener.example/", event_types=list(event_types), enabled=enabled
    )


@pytest.mark.django_db
def test_nothing_is_written_where_nobody_wants_to_know() -> None:
    listening("product.created")

    assert outbox.publish("import.started", {"id": "1"}) is None
    assert not outbox.wanting("import.started").exists()
    assert (Event.objects.count(), Delivery.objects.count()) == (0, 0)


@pytest.mark.django_db
def test_every_endpoint_that_wants_it_is_told_once() -> None:
    wanting = [listening("ping", "product.created"), listening("ping"), listening("ping", enabled=False)]
    listening("product.created")

    event_id = outbox.publish("ping", {"word": "höre"}, lane=Lane.IMPORT)

    event = Event.objects.get()
    assert event.pk == event_id
    assert {each.endpoint_id for each in Delivery.objects.all()} == {endpoint.pk for endpoint in wanting}
    assert Delivery.objects.filter(event_id=event_id, state="pending", lane=Lane.IMPORT, attempts=0).count() == 3


@pytest.mark.django_db
def test_the_body_is_the_type_the_time_and_the_data() -> None:
    listening("ping")

    outbox.publish("ping", {"word": "höre"})

    body = json.loads(Event.objects.get().body)
    assert (list(body), body["type"], body["data"]) == (["type", "timestamp", "data"], "ping", {"word": "höre"})
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None


@pytest.mark.django_db
def test_one_endpoint_alone_can_be_told() -> None:
    one, _ = listening("ping"), listening("ping")

    outbox.publish("ping", {}, endpoint_id=one.pk)

    assert [delivery.endpoint_id for delivery in Delivery.objects.all()] == [one.pk]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_was_never_said() -> None:
    listening("ping")
    told: list[object] = []
    outbox.committed.connect(lambda **kwargs: told.append(kwargs), weak=False, dispatch_uid="test")
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            outbox.publish("ping", {})
            raise ZeroDivisionError
        assert (Event.objects.count(), Delivery.objects.count(), told) == (0, 0, [])

        outbox.publish("ping", {})
        assert (Event.objects.count(), Delivery.objects.count(), len(told)) == (1, 1, 1)
    finally:
        outbox.committed.disconnect(dispatch_uid="test")
