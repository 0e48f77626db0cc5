"""Deliveries as people have to do with them: asked for again, discarded, tested, let go."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from common.errors import ConflictError
from common.ids import first_uuid7, uuid7
from webhooks import outbox
from webhooks.claims import Claimed
from webhooks.dispatcher import attempt
from webhooks.event_types import EVENT_TYPES, refuse_unknown
from webhooks.models import Attempt, Delivery, EndpointState, Event, Trigger, WebhookEndpoint
from webhooks.outcomes import SUCCESS
from webhooks.partitions import first_id_of
from webhooks.results import Made, attempt_values
from webhooks.sender import Sender
from webhooks.targets import Target, read_one

CHUNK = 5_000
"""Deliveries that are asked for again in one transaction: while it lasts, none of their endpoints gets any."""


def redeliver(delivery: Delivery) -> Delivery:
    """Have a delivery made again from its first attempt on, with the same `webhook-id` and a new time; returns it as
    it is then. One that is just being made is left alone. Raises ConflictError where its endpoint is gone."""
    if not WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).exists():
        raise ConflictError(
            "The endpoint of this delivery was removed: there is nobody to deliver it to.", code="endpoint_removed"
        )
    redeliver_many(Delivery.objects.filter(pk=delivery.pk))
    return Delivery.objects.get(pk=delivery.pk)


def redeliver_many(found: QuerySet[Delivery]) -> int:
    """Have all of these made again, however many; returns how many that are. They go at their endpoints' rates.

    What is older than WEBHOOK_RETENTION_DAYS has nothing left to say, and an endpoint that was removed hears nothing.
    """
    oldest = first_id_of((datetime.now(UTC) - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)).date())
    there = WebhookEndpoint.objects.order_by().values("pk")
    rows = found.filter(id__gte=oldest, endpoint_id__in=there).order_by("id").values_list("id", "endpoint_id")
    total, last = 0, None
    while True:
        chunk = list((rows.filter(id__gt=last) if last else rows)[:CHUNK])
        if not chunk:
            return total
        last = chunk[-1][0]
        total += _ask_again([row[0] for row in chunk], {row[1] for row in chunk})


def of_period(
    endpoint: WebhookEndpoint, since: datetime, until: datetime | None = None, state: str = Delivery.State.FAILED
) -> QuerySet[Delivery]:
    """What an endpoint was told of since a time, and before another, in one state or in `all`. Tests are left out: they
    tell of examples."""
    found = Delivery.objects.filter(endpoint_id=endpoint.pk, id__gte=first_uuid7(since)).exclude(trigger=Trigger.TEST)
    if until is not None:
        found = found.filter(id__lt=first_uuid7(until))
    return found if state == "all" else found.filter(state=state)


@transaction.atomic
def _ask_again(ids: list[uuid.UUID], endpoints: set[uuid.UUID]) -> int:
    lock(endpoints)
    asked = Delivery.objects.filter(pk__in=ids, claim=None).update(
        state=Delivery.State.PENDING, trigger=Trigger.REDELIVERY, attempts=0, due_at=Now(), finished_at=None
    )
    transaction.on_commit(outbox.tell)
    return asked


@transaction.atomic
def discard(endpoint: WebhookEndpoint) -> int:
    """Give up all that an endpoint still waits for; returns how many deliveries that were. What is on its way
    arrives, perhaps, but nobody writes that down."""
    lock([endpoint.pk])
    return Delivery.objects.filter(endpoint_id=endpoint.pk, state=Delivery.State.PENDING).update(
        state=Delivery.State.DISCARDED, claim=None, claimed_until=None, finished_at=Now()
    )


@transaction.atomic
def begin_anew(endpoint: WebhookEndpoint) -> None:
    """For an endpoint that a person turns on: what was held against it is forgotten, and what waited for it, also
    for its next attempt, is due now."""
    lock([endpoint.pk])
    EndpointState.objects.filter(pk=endpoint.pk).update(
        rate=None,
        rate_cut_at=None,
        open_until=None,
        openings=0,
        timeouts_in_row=0,
        recent=[],
        failing_since=None,
        failed_messages=0,
        warned_at=None,
    )
    pending = Delivery.objects.filter(endpoint_id=endpoint.pk, state=Delivery.State.PENDING)
    pending.filter(claim=None, due_at__gt=Now()).update(due_at=Now())
    transaction.on_commit(outbox.tell)


def lock(endpoints: Iterable[uuid.UUID]) -> None:
    """Let nobody claim or settle deliveries of these endpoints until the transaction ends."""
    list(EndpointState.objects.select_for_update(no_key=True).filter(pk__in=set(endpoints)).order_by("pk"))


def send_test(endpoint: WebhookEndpoint, event_type: str) -> Attempt:
    """Send the example of an event, at once and once; returns the attempt, which is in the log too.

    Nothing is held against the endpoint for it, and it may be turned off. Raises ValueError for an unknown type.
    """
    refuse_unknown(event_type)
    example = copy.deepcopy(EVENT_TYPES[event_type].example)
    body = outbox.as_json({**example, "timestamp": datetime.now(UTC)})
    claimed = Claimed(
        id=uuid7(),
        endpoint_id=endpoint.pk,
        event_id=uuid7(),
        event_type=event_type,
        trigger=Trigger.TEST,
        attempts=0,
        claim=uuid7(),
    )
    made = async_to_sync(_send_once)(claimed, read_one(endpoint), body)
    return _record(made, body)


async def _send_once(claimed: Claimed, target: Target, body: str) -> Made:
    async with Sender() as sender:
        return await attempt(sender, claimed, target, body)


@transaction.atomic
def _record(made: Made, body: str) -> Attempt:
    claimed = made.claimed
    Event.objects.create(id=claimed.event_id, event_type=claimed.event_type, body=body)
    Delivery.objects.create(
        id=claimed.id,
        event_id=claimed.event_id,
        endpoint_id=claimed.endpoint_id,
        event_type=claimed.event_type,
        state=Delivery.State.DELIVERED if made.outcome == SUCCESS else Delivery.State.FAILED,
        trigger=Trigger.TEST,
        attempts=1,
        last_status=made.attempted.status,
        last_error=made.attempted.error,
        finished_at=Now(),
    )
    return Attempt.objects.create(**attempt_values(made))
