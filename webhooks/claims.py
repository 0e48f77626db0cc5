"""Which deliveries a dispatcher has in hand: claimed in PostgreSQL, fairly, and lost with it only for a while."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, errors
from psycopg.rows import class_row

from common.ids import uuid7
from webhooks.statements import statement

GRACE_SECONDS = 10
"""Beyond an endpoint's time-out, to write down what came of it. Then the dispatcher counts as dead."""
LATE_SECONDS = 120
"""What has been due for so long gets LATE_SHARE of what its endpoint may have, whatever else there is."""
LATE_SHARE = 0.1
BUSY = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)
"""Somebody else was at the same rows: it goes when tried again."""

Rows = AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand."""

    id: uuid.UUID
    endpoint_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
    trigger: str
    attempts: int
    """Made before this one."""
    claim: uuid.UUID


async def claim(connection: Rows, free: int) -> list[Claimed]:
    """Claim what is due, at most `free` deliveries."""
    try:
        async with connection.transaction(), connection.cursor(row_factory=class_row(Claimed)) as cursor:
            locked = await (await connection.execute(statement("lock_endpoints"))).fetchall()
            if not locked:
                return []
            endpoints = [row[0] for row in locked]
            parameters = {
                "endpoints": endpoints,
                "free": free,
                "claim": uuid7(),
                "grace": GRACE_SECONDS,
                "late": LATE_SECONDS,
                "late_share": LATE_SHARE,
            }
            return await (await cursor.execute(statement("claim"), parameters)).fetchall()
    except BUSY:
        return []


async def bodies(connection: Rows, event_ids: set[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What these events say."""
    found = await connection.execute("SELECT id, body FROM webhooks_event WHERE id = ANY (%s)", [list(event_ids)])
    return dict(await found.fetchall())


async def take_back(connection: Rows) -> int:
    """Give deliveries that dead dispatchers had in hand to the others, and new endpoints a state. Returns how many
    deliveries that were."""
    await connection.execute(
        "INSERT INTO webhooks_endpointstate (endpoint_id) SELECT id FROM webhooks_webhookendpoint AS endpoint "
        "WHERE NOT EXISTS (SELECT FROM webhooks_endpointstate WHERE endpoint_id = endpoint.id) ON CONFLICT DO NOTHING"
    )
    try:
        return (await connection.execute(statement("take_back"))).rowcount
    except BUSY:
        return 0
