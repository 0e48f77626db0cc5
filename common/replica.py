"""The streaming replica, for long reads, where DATABASE_REPLICA_URL names one."""

from __future__ import annotations

import time

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

ALIAS = "replica"
CATCH_UP_SECONDS = 2.0
"""Longest wait for a replica that lags behind."""

log = structlog.get_logger(__name__)


def caught_up() -> BaseDatabaseWrapper | None:
    """A new connection to the replica, which has everything that was committed until now: nobody misses there what
    they have just written. None if there is no replica, or it is away, or too far behind, or was promoted: then the
    server itself is to be read."""
    if ALIAS not in settings.DATABASES:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        (now,) = cursor.fetchone()
    session = connections[ALIAS].copy()
    try:
        if _waits_for(session, now):
            return session
        log.warning("replica_behind", seconds=CATCH_UP_SECONDS)
    except (OperationalError, InterfaceError, psycopg.OperationalError) as error:
        log.warning("replica_away", error=str(error).strip())
    session.close()
    return None


def _waits_for(session: BaseDatabaseWrapper, position: str) -> bool:
    """Whether the server is a replica that reaches this position of the log in time."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        with session.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= %s::pg_lsn", [position])
            (reached,) = cursor.fetchone()
        if reached or time.monotonic() > deadline:
            return bool(reached)
        time.sleep(0.05)
