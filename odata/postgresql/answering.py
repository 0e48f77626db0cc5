"""Whether PostgreSQL answers anybody at all, so that no request waits for one that is frozen, or that is behind a
network that swallows packets.

How long a statement takes says nothing of that: it may wait for a lock, or have much to do, and must not be cut off. So
whoever has waited for PATIENCE looks, on a connection of its own, whether the server still has an answer for somebody.
If it has, the waiting goes on. If it has none within DEADLINE, the server is away: who waits is told so, and who comes
is refused at once, until a look finds it again.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from django.db import connection
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout

PATIENCE = 1.0
"""Seconds that a connection waits for an answer before it looks whether there will be one."""
DEADLINE = 2
"""Seconds for such a look; libpq knows no shorter limit for a connection that is worth having."""
LOOK_AGAIN = 1.0
"""Seconds after a look that found nobody. Until then it is taken for granted that nobody is there yet."""
INTERVAL = 0.1
"""Seconds after which a wait looks for signals, as psycopg has it."""


class Server:
    """What this process knows of the one server that it talks to."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._away = self._doubted = False
        self._heard_at = self._looked_at = float("-inf")
        """When it last answered a statement, and when the last look ended, by the monotonic clock."""

    def heard(self) -> None:
        """It has answered somebody."""
        self._heard_at = time.monotonic()
        self._away = False

    def doubt(self) -> None:
        """No connection to it came about in time: who comes next looks why."""
        self._doubted = True

    def answers(self, since: float) -> bool:
        """Whether it has answered anybody since then. Looks if nobody knows; one look does for all who wait for it."""
        with self._looking:
            if max(self._heard_at, self._looked_at) < since:
                self._look()
            return not self._away

    def refuse_if_away(self) -> None:
        """Raise OperationalError if it did not answer when somebody last looked, which was just now or is done here."""
        if not (self._away or self._doubted):
            return
        if time.monotonic() - self._looked_at > LOOK_AGAIN and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        if self._away:
            raise psycopg.OperationalError("PostgreSQL has given no answer to anybody for a while")

    def _look(self) -> None:
        began = time.monotonic()
        found = is_there()
        self._away = not found and self._heard_at < began
        self._doubted = False
        self._looked_at = time.monotonic()


server = Server()


class WatchfulConnection(psycopg.Connection[Any]):
    """A connection that waits for an answer as long as the server has some for anybody."""

    def wait(self, gen: PQGen[Any], interval: float = INTERVAL, timeout: float | None = None) -> Any:
        """What the generator returns. Raises OperationalError, and is closed then, where the server is away."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        while True:
            try:
                result = super().wait(gen, interval, PATIENCE)
            except _WaitTimeout:
                if server.answers(since=time.monotonic() - PATIENCE):
                    continue
                self.pgconn.finish()  # what its session is doing is not known any more
                raise psycopg.OperationalError("PostgreSQL gives no answer, neither to this nor to anybody") from None
            server.heard()
            return result


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection for a look: it gives no answer longer than DEADLINE."""

    def wait(self, gen: PQGen[Any], interval: float = INTERVAL, timeout: float | None = None) -> Any:
        """What the generator returns. Raises OperationalError, and is closed then, where that takes too long."""
        try:
            return super().wait(gen, interval, DEADLINE if timeout is None else timeout)
        except _WaitTimeout:
            self.pgconn.finish()
            raise


def own_connection() -> ImpatientConnection:
    """A connection for one look: all those of the pool may be busy, or waiting for a server that is gone, for
    longer than a health check can. Raises psycopg.Error.
    """
    params: dict[str, Any] = connection.get_connection_params()
    params |= {"connect_timeout": DEADLINE}
    for ours in ("context", "cursor_factory", "prepare_threshold"):
        params.pop(ours, None)
    database = ImpatientConnection.connect(**params)
    # Not as a parameter of the connection, which a pooler refuses; it lasts as long as the transaction of the look.
    database.execute(f"SET LOCAL statement_timeout = '{DEADLINE}s'")
    return database


def is_there() -> bool:
    """Whether it answers on a new connection, be it that it has no room for one."""
    try:
        own_connection().close()
    except psycopg.Error as error:
        return "FATAL" in str(error)  # its own word; all others are libpq's
    return True
