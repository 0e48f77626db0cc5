"""The days that events, deliveries and attempts are kept in."""

from __future__ import annotations

import uuid
from datetime import date, timedelta

import pytest
from django.db import connection

from webhooks import outbox, partitions
from webhooks.models import Delivery, Event, WebhookEndpoint

pytestmark = pytest.mark.django_db


def listening(*event_types: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(url="https://listener.example/", event_types=list(event_types))


def home_of(table: str, row_id: uuid.UUID) -> str:
    """The partition that a row lies in."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT tableoid::regclass::text FROM {table} WHERE id = %s", [row_id])
        name: str = cursor.fetchone()[0]
    return name


def put_back(day: date, state: str) -> uuid.UUID:
    """A delivery, and its event, as they were made on that day."""
    first = partitions.first_id_of(day)
    made = uuid.UUID(int=first.int + 1)
    Event.objects.create(id=made, event_type="ping", body="{}")
    Delivery.objects.create(id=made, event_id=made, endpoint_id=made, event_type="ping", state=state)
    return made


def test_an_event_lies_in_the_partition_of_its_day() -> None:
    listening("ping")
    event_id = outbox.publish("ping", {})
    assert event_id is not None

    assert home_of("webhooks_event", event_id) == f"webhooks_event_{partitions.today():%Y%m%d}"


def test_what_is_to_be_delivered_lies_apart_and_moves_to_its_day_when_it_is_done() -> None:
    listening("ping")
    outbox.publish("ping", {})
    delivery = Delivery.objects.get()
    assert home_of("webhooks_delivery", delivery.pk) == "webhooks_delivery_pending"

    Delivery.objects.filter(pk=delivery.pk).update(state="delivered")

    assert home_of("webhooks_delivery", delivery.pk) == f"webhooks_delivery_done_{partitions.today():%Y%m%d}"


def test_the_days_ahead_are_made_once() -> None:
    partitions.make_ahead()
    partitions.make_ahead()

    last = partitions.today() + timedelta(days=partitions.DAYS_AHEAD)
    for table in partitions.DAILY:
        assert last in partitions._days_of(table)


def test_a_day_that_nobody_made_has_the_default_partition_and_loses_nothing() -> None:
    day = partitions.today() - timedelta(days=1)

    made = put_back(day, "delivered")

    assert home_of("webhooks_event", made) == "webhooks_event_default"
    assert home_of("webhooks_delivery", made) == "webhooks_delivery_done_default"


def test_expired_days_are_dropped_and_later_ones_stay(settings: object) -> None:
    settings.WEBHOOK_RETENTION_DAYS = 30  # type: ignore[attr-defined]
    expired, kept = partitions.today() - timedelta(days=31), partitions.today() - timedelta(days=30)
    for table, default in partitions.DAILY.items():
        partitions._make(table, default, expired)
        partitions._make(table, default, kept)
    old = [put_back(expired, "delivered"), put_back(expired - timedelta(days=9), "pending")]
    young = [put_back(kept, "delivered")]

    partitions.drop_expired()

    assert not Delivery.objects.filter(pk__in=old).exists()
    assert Delivery.objects.filter(pk__in=young).exists()
    assert expired not in partitions._days_of("webhooks_delivery_done")
    assert kept in partitions._days_of("webhooks_delivery_done")
    # An event outlasts its deliveries by a day.
    assert set(Event.objects.values_list("pk", flat=True)) == {old[0], *young}
