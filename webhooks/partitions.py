"""The days that the tables of events, deliveries and attempts are made of: made ahead, dropped whole.

What has no day of its own, because nobody made one in time, is kept in a default partition: an event is never lost
for want of one, only cleaned up row by row.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from common.ids import first_uuid7

DAYS_AHEAD = 7

DAILY = {
    "webhooks_event": "webhooks_event_default",
    "webhooks_delivery_done": "webhooks_delivery_done_default",
    "webhooks_attempt": "webhooks_attempt_default",
}
"""Tables that are partitioned by day, and where the rows go that have none."""


def first_id_of(day: date) -> uuid.UUID:
    """The least UUIDv7 of a day in UTC."""
    return first_uuid7(datetime(day.year, day.month, day.day, tzinfo=UTC))


def today() -> date:
    """The day it is by the database's clock, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
        day: date = cursor.fetchone()[0]
    return day


def make_ahead() -> None:
    """Make the partitions of today and the days after it, where they are missing."""
    first = today()
    for table, default in DAILY.items():
        there = _days_of(table)
        for offset in range(DAYS_AHEAD + 1):
            day = first + timedelta(days=offset)
            if day not in there:
                _make(table, default, day)


def drop_expired() -> int:
    """Drop the days that are older than WEBHOOK_RETENTION_DAYS; returns how many partitions that were.

    An event outlasts its deliveries by a day, so that none is left without what it is to say. Deliveries that were
    still to be made then, to an endpoint that was off all the time, are given up with their day.
    """
    oldest = today() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    dropped = 0
    for table, default in DAILY.items():
        kept_from = oldest - timedelta(days=1) if table == "webhooks_event" else oldest
        for day in sorted(day for day in _days_of(table) if day < kept_from):
            _execute(f"DROP TABLE {_partition(table, day)}")
            dropped += 1
        _execute(f"DELETE FROM {default} WHERE id < %s", first_id_of(kept_from))  # noqa: S608 - our own names
    _execute("DELETE FROM webhooks_delivery_pending WHERE id < %s", first_id_of(oldest))
    return dropped


def _partition(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _days_of(table: str) -> set[date]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = %s::regclass",
            [table],
        )
        suffixes = [name.rpartition("_")[2] for (name,) in cursor.fetchall()]
    return {datetime.strptime(suffix, "%Y%m%d").date() for suffix in suffixes if suffix.isdigit()}  # noqa: DTZ007


@transaction.atomic
def _make(table: str, default: str, day: date) -> None:
    """Attached rather than created in place: that would keep everybody from the whole table meanwhile."""
    first, end = first_id_of(day), first_id_of(day + timedelta(days=1))
    name = _partition(table, day)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [table])  # one process makes it, the others see it
        if day in _days_of(table):
            return
        cursor.execute(f"SELECT EXISTS (SELECT FROM {default} WHERE id >= %s AND id < %s)", [first, end])  # noqa: S608
        if cursor.fetchone()[0]:
            return  # the day has begun in the default partition, and ends there
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')")


def _execute(sql: str, *parameters: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
