"""Saying what happened, in the same transaction that makes it so."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import QuerySet
from django.dispatch import Signal

from common.ids import uuid7
from webhooks.event_types import refuse_unknown
from webhooks.models import Delivery, Lane, WebhookEndpoint

committed = Signal()
"""Sent once a transaction that published something is committed."""

# One statement: who wants it is decided before anything is written, and at the same moment for the event and its
# deliveries. An endpoint that is off is asked too: what it missed waits for it.
PUBLISH = """
WITH wanted AS (
    SELECT id FROM webhooks_webhookendpoint
     WHERE %(type)s = ANY (event_types) AND (%(endpoint)s::uuid IS NULL OR id = %(endpoint)s)
), event AS (
    INSERT INTO webhooks_event (id, event_type, body)
    SELECT %(id)s, %(type)s, %(body)s WHERE EXISTS (SELECT FROM wanted)
)
INSERT INTO webhooks_delivery (id, event_id, endpoint_id, event_type, lane)
SELECT uuidv7(), %(id)s, wanted.id, %(type)s, %(lane)s
  FROM wanted
"""


def publish(
    event_type: str,
    data: dict[str, Any],
    *,
    lane: Lane = Lane.INTERACTIVE,
    endpoint_id: uuid.UUID | None = None,
) -> uuid.UUID | None:
    """Tell the endpoints that want events of this type, or that one of them, what happened.

    It is part of the current transaction: rolled back, it was never said. Returns the event's id; None if nobody
    wants to know, and then nothing is written. Raises ValueError for a type that `event_types` does not have.
    """
    refuse_unknown(event_type)
    event_id = uuid7()
    text = as_json({"type": event_type, "timestamp": datetime.now(UTC), "data": data})
    parameters: dict[str, Any] = {"id": event_id, "type": event_type, "body": text, "lane": lane.value}
    parameters["endpoint"] = endpoint_id
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PUBLISH, parameters)
        if not cursor.rowcount:
            return None
        transaction.on_commit(tell)
    return event_id


def as_json(value: Any) -> str:
    """As it stands in a body: as short as it can be."""
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


def size_of(value: Any) -> int:
    """The bytes that it takes in a body."""
    return len(as_json(value).encode())


def wanting(event_type: str) -> QuerySet[WebhookEndpoint]:
    """The endpoints that want events of this type, also those that are off."""
    refuse_unknown(event_type)
    return WebhookEndpoint.objects.filter(event_types__contains=[event_type])


def waiting(endpoint_id: uuid.UUID, event_type: str, most: int) -> int:
    """How many events of this type wait to be delivered to an endpoint; counted up to `most`."""
    deliveries = Delivery.objects.filter(state="pending", endpoint_id=endpoint_id, event_type=event_type)
    return deliveries.order_by()[:most].count()


def tell() -> None:
    """Say that there is something to deliver: for after the commit that made it so."""
    committed.send(sender=None)
