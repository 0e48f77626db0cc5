"""Telling of many changes: batches of them for those endpoints that want `products.changed`.

The transaction of the change leaves one row for each such endpoint; afterwards the batches are made of the history,
some at a time, each time in one transaction with the note how far that came. So a worker that dies leaves nothing
out and says nothing twice. An endpoint that is slow is given no more than it is likely to take in a while.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.dispatch import Signal

from accounts.models import User
from common.stopping import stopping
from products.events import actor_data
from products.feed import FeedItem, items_for
from products.models import ChangePush
from webhooks import outbox
from webhooks.event_types import MAX_BYTES
from webhooks.models import Lane, WebhookEndpoint

if TYPE_CHECKING:
    from products.models import Import

logger = logging.getLogger(__name__)

EVENT = "products.changed"
STEP = 50
"""Batches that are made in one transaction."""
FEWEST_WAITING = 500
SECONDS_AHEAD = 10
"""Batches made ahead for an endpoint: what its rate lets it take in that time, or those few."""
MOST_ITEMS = 250
"""More of the shortest don't fit into MAX_BYTES."""
FRAME = 100
"""Bytes of a body beside its data: type and time."""
_ITEM = ("id", "product_id", "sku", "action", "version", "changed_fields")

requested = Signal()
"""Sent once a transaction is committed that left something to be told."""


def last_change() -> int:
    """The id of the newest entry of the history, or one that comes before all that is still to be written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(pg_sequence_last_value('products_productchange_id_seq'), 0)")
        return int(cursor.fetchone()[0])


def request(import_: Import | None, actor: User | None, *, after: int, total: int) -> None:
    """Have those endpoints told that want it of the `total` changes that this transaction has written after an id.

    Its caller holds the catalogue's lock: so pushes have their ids in the order in which they are committed.
    """
    if not total:
        return
    endpoints = outbox.wanting(EVENT).values_list("pk", flat=True)
    pushes = [
        ChangePush(
            endpoint_id=endpoint_id,
            import_id=import_.pk if import_ else None,
            kind=str(import_.kind) if import_ else "",
            actor_id=actor.pk if actor else None,
            after=after,
            until=last_change(),
            items_total=total,
        )
        for endpoint_id in endpoints
    ]
    if pushes:
        ChangePush.objects.bulk_create(pushes)
        transaction.on_commit(_tell)


def _tell() -> None:
    requested.send(sender=None)


def push_all() -> None:
    """Make batches, a step for each endpoint in turn, until all are made or what is left has to wait for its
    receiver. Several workers may do so at a time."""
    moved = True
    while moved:
        moved = False
        # Of each endpoint the first one: the batches of one change don't mix with those of another.
        heads = ChangePush.objects.order_by("endpoint_id", "id").distinct("endpoint_id")
        for push_id in heads.values_list("pk", flat=True):
            if stopping():
                return
            moved |= push_some(push_id)


@transaction.atomic
def push_some(push_id: int) -> bool:
    """Make the next batches of a push; False if there is nothing to be done now, or another worker is at it."""
    push = ChangePush.objects.select_for_update(skip_locked=True).filter(pk=push_id).first()
    if push is None:
        return False
    endpoint = outbox.wanting(EVENT).filter(pk=push.endpoint_id).first()
    if endpoint is None:  # it is gone, or does not want to know any more
        push.delete()
        return True
    wanted = min(_room(endpoint), STEP)
    if wanted <= 0:
        return False
    _make_batches(push, endpoint, wanted)
    if push.after >= push.until:
        push.delete()
    else:
        push.save(update_fields=["after", "batches"])
    return True


def _make_batches(push: ChangePush, endpoint: WebhookEndpoint, wanted: int) -> None:
    """So many batches, or as many as are left."""
    most_items = min(endpoint.batch_items, MOST_ITEMS)
    limit = wanted * most_items
    items = items_for(push, limit + 1)
    all_there = len(items) <= limit
    frame = _frame(push)
    for batch in islice(_batches(items[:limit], most_items, MAX_BYTES - FRAME - outbox.size_of(frame)), wanted):
        push.batches += 1
        push.after = batch[-1]["id"]
        last = all_there and push.after == items[-1]["id"]
        data = {**frame, "batch": push.batches, "last": last, "items": batch}
        outbox.publish(EVENT, data, lane=Lane.IMPORT, endpoint_id=push.endpoint_id)
    if all_there and (not items or push.after == items[-1]["id"]):
        push.after = push.until


def remove_expired() -> int:
    """Give up what could not be told for so long that its deliveries would be gone, too; returns how much."""
    expired = ChangePush.objects.filter(created_at__lt=Now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS))
    removed, _ = expired.delete()
    if removed:
        logger.warning("change_pushes_expired", extra={"count": removed})
    return removed


def _room(endpoint: WebhookEndpoint) -> int:
    """Batches that may be made for an endpoint beside those that wait."""
    most = max(FEWEST_WAITING, SECONDS_AHEAD * endpoint.rate_per_second)
    return most - outbox.waiting(endpoint.pk, EVENT, most)


def _frame(push: ChangePush) -> dict[str, Any]:
    """What is the same in all batches."""
    actor = User.objects.filter(pk=push.actor_id).first() if push.actor_id else None
    return {
        "import": push.import_id,
        "kind": push.kind or None,
        "actor": actor_data(actor),
        "batch": push.batches,
        "last": False,
        "items_total": push.items_total,
        "items": [],
    }


def _batches(items: list[FeedItem], most_items: int, most_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """The items in order, as many in each batch as may and fit."""
    batch: list[dict[str, Any]] = []
    size = 0
    for item in items:
        told: dict[str, Any] = {name: item[name] for name in _ITEM}  # type: ignore[literal-required]
        more = outbox.size_of(told) + 1
        if batch and (len(batch) == most_items or size + more > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(told)
        size += more
    if batch:
        yield batch
