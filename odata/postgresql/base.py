"""The backend: Django finds it by this name, `base`."""

from __future__ import annotations

import select
import time
from datetime import UTC
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
import psycopg.abc
import psycopg.adapt
from django.db.backends.postgresql import base
from psycopg.pq import Format
from psycopg_pool import PoolTimeout

from odata.postgresql.answering import server

IDLE_SECONDS = 10
"""Something on the way may forget a connection that rests for longer, and tell neither end."""

_handed_out: WeakKeyDictionary[psycopg.Connection, float] = WeakKeyDictionary()
"""When each connection of the pool was last handed out, by the monotonic clock."""


_AS_PSYCOPG_READS_IT = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT)


class UtcLoader(psycopg.adapt.Loader):
    """Times, read in C. Django's own reader changes their zone, in Python; here every session has UTC already."""

    timezone = UTC  # Django compares it with that of the settings

    def __init__(self, oid: int, context: psycopg.abc.AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self.load = _AS_PSYCOPG_READS_IT(oid, context).load  # type: ignore[method-assign, misc]

    def load(self, data: psycopg.abc.Buffer) -> Any:  # for the base class, which is abstract
        raise NotImplementedError


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes no dead connection from the pool, as with Django's CONN_HEALTH_CHECKS, but without asking PostgreSQL
    each time: a tenth of what reading one product takes (docs/performance.md)."""

    def get_connection_params(self) -> dict[str, Any]:
        """Also what reads the values of PostgreSQL's types."""
        params: dict[str, Any] = super().get_connection_params()
        if self.timezone == UTC:
            params["context"].register_loader("timestamptz", UtcLoader)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection that lives. Raises OperationalError (or PoolTimeout, which is one) if there is none in time."""
        if not self.pool:
            return super().get_new_connection(conn_params)
        server.refuse_if_away()
        try:
            connection = super().get_new_connection(conn_params)
            while not is_alive(connection):
                connection.close()
                self.pool.putconn(connection)  # which opens another in its place
                server.refuse_if_away()
                connection = self.pool.getconn()
        except PoolTimeout:
            server.doubt()
            raise
        return connection


def is_alive(connection: psycopg.Connection) -> bool:
    """Whether the server is still there. Whoever ends a connection says so: then there is something to read from it."""
    now = time.monotonic()
    rested = now - _handed_out.get(connection, now)
    _handed_out[connection] = now
    if rested <= IDLE_SECONDS and not _has_something_to_say(connection):
        return True
    try:
        connection.execute("")
    except psycopg.Error:
        return False
    return True


def _has_something_to_say(connection: psycopg.Connection) -> bool:
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
