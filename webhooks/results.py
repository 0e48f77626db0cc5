"""What came of attempts, written in batches: to the deliveries, the log, and how their endpoints are doing."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from common.ids import uuid7
from webhooks import outcomes
from webhooks.attempted import Attempted
from webhooks.claims import BUSY, Claimed, Rows
from webhooks.health import Health
from webhooks.outcomes import outcome_of
from webhooks.statements import statement
from webhooks.targets import Target
from webhooks.verdicts import Verdict, judge

TRIES = 20
OF_ATTEMPTED = tuple(field.name for field in fields(Attempted))
ATTEMPT_COLUMNS = (
    "id",
    "delivery_id",
    "endpoint_id",
    "event_id",
    "number",
    "trigger",
    "started_at",
    "url",
    "request_headers",
    *OF_ATTEMPTED,
)


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt that has come to its end."""

    claimed: Claimed
    target: Target
    headers: dict[str, str] = field(repr=False)
    started_at: datetime
    attempted: Attempted

    @property
    def outcome(self) -> str:
        return outcome_of(self.attempted.status, self.attempted.error)

    def verdict(self) -> Verdict:
        return judge(self.attempted, self.claimed.attempts + 1, self.target.retry_delays)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An endpoint that somebody must hear of, or that is to be turned off."""

    endpoint_id: uuid.UUID
    error: str
    """The last one, in a sentence."""
    turns_off: str = ""
    """Why it is to be turned off; empty: only a warning."""
    event_type: str = ""
    """Of the delivery that failed last."""


async def write(connection: Rows, batch: Sequence[Made]) -> list[Trouble]:
    """Write a batch, in one transaction; returns the endpoints that are in trouble.

    What a claim that was given up for lost brings is not written: somebody else has that delivery in hand.
    """
    for _ in range(TRIES):
        try:
            async with connection.transaction():
                return await _write(connection, batch)
        except BUSY:
            await asyncio.sleep(0.05)
    async with connection.transaction():
        return await _write(connection, batch)


async def _write(connection: Rows, batch: Sequence[Made]) -> list[Trouble]:
    healths, now = await _lock(connection, {made.claimed.endpoint_id for made in batch})
    verdicts = {made.claimed.id: made.verdict() for made in batch}
    settled = await _settle(connection, batch, verdicts)
    mine = [made for made in batch if made.claimed.id in settled]
    if not mine:
        return []
    await _log(connection, mine)
    await _add_minutes(connection, mine)
    for made in mine:
        if health := healths.get(made.claimed.endpoint_id):
            first, took = made.claimed.attempts == 0, made.attempted.total_ms
            health.note(made.outcome, now, milliseconds=took, first=first, most=made.target.most)
    troubles = [*_wishes(mine, verdicts), *_failing(mine, healths, now)]
    states = [{"endpoint_id": str(pk), **health.row()} for pk, health in healths.items()]
    await connection.execute(statement("save_states"), {"states": json.dumps(states)})
    return troubles


async def _lock(connection: Rows, endpoints: set[uuid.UUID]) -> tuple[dict[uuid.UUID, Health], float]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement("lock_states"), {"endpoints": list(endpoints)})
        rows = await cursor.fetchall()
    return {row["endpoint_id"]: Health.of(row) for row in rows}, max((row["now"] for row in rows), default=0.0)


async def _settle(connection: Rows, batch: Sequence[Made], verdicts: dict[uuid.UUID, Verdict]) -> set[uuid.UUID]:
    settled = await connection.execute(
        statement("settle"),
        {
            "ids": [made.claimed.id for made in batch],
            "claims": [made.claimed.claim for made in batch],
            "states": [str(verdicts[made.claimed.id].state) for made in batch],
            "delays": [verdicts[made.claimed.id].delay for made in batch],
            "statuses": [made.attempted.status for made in batch],
            "errors": [made.attempted.error for made in batch],
        },
    )
    return {row[0] for row in await settled.fetchall()}


async def _log(connection: Rows, batch: Iterable[Made]) -> None:
    copy_in = f"COPY webhooks_attempt ({', '.join(ATTEMPT_COLUMNS)}) FROM STDIN"
    async with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for made in batch:
            values = attempt_values(made)
            values["request_headers"] = Jsonb(values["request_headers"])
            values["reply_headers"] = Jsonb(values["reply_headers"])
            await copy.write_row([values[name] for name in ATTEMPT_COLUMNS])


def attempt_values(made: Made) -> dict[str, Any]:
    """What the log keeps of an attempt."""
    claimed = made.claimed
    return {
        "id": uuid7(),
        "delivery_id": claimed.id,
        "endpoint_id": claimed.endpoint_id,
        "event_id": claimed.event_id,
        "number": claimed.attempts + 1,
        "trigger": claimed.trigger,
        "started_at": made.started_at,
        "url": made.target.url,
        "request_headers": made.headers,
        **{name: getattr(made.attempted, name) for name in OF_ATTEMPTED},
    }


async def _add_minutes(connection: Rows, batch: Iterable[Made]) -> None:
    new: dict[tuple[uuid.UUID, str], list[int]] = defaultdict(outcomes.no_latencies)
    for made in batch:
        new[made.claimed.endpoint_id, made.outcome][outcomes.bucket_of(made.attempted.total_ms)] += 1
    await connection.execute(
        statement("add_minutes"),
        {
            "endpoints": [endpoint_id for endpoint_id, _ in new],
            "outcomes": [outcome for _, outcome in new],
            "attempts": [sum(latencies) for latencies in new.values()],
            "latencies": ["{" + ",".join(map(str, latencies)) + "}" for latencies in new.values()],
        },
    )


def _wishes(batch: Iterable[Made], verdicts: dict[uuid.UUID, Verdict]) -> list[Trouble]:
    """Endpoints whose receivers want no more, once each."""
    wishes = {}
    for made in batch:
        claimed, wish = made.claimed, verdicts[made.claimed.id].turns_off
        if wish:
            wishes[claimed.endpoint_id] = Trouble(claimed.endpoint_id, made.attempted.detail, wish, claimed.event_type)
    return list(wishes.values())


def _failing(batch: Iterable[Made], healths: dict[uuid.UUID, Health], now: float) -> list[Trouble]:
    """Endpoints that have not worked for long, once each."""
    last = {made.claimed.endpoint_id: made for made in batch}
    troubles = []
    for endpoint_id, made in last.items():
        health = healths.get(endpoint_id)
        if health and health.is_to_be_disabled(now):
            reason = "No delivery has succeeded for 5 days."
            troubles.append(Trouble(endpoint_id, made.attempted.detail, reason, made.claimed.event_type))
        elif health and health.is_to_be_warned_of(now):
            health.warned_at = now
            troubles.append(Trouble(endpoint_id, made.attempted.detail, event_type=made.claimed.event_type))
    return troubles
