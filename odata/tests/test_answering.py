"""Waiting for PostgreSQL: for as long as a statement takes, and no longer than there is somebody to wait for.

What becomes of requests while it is frozen is in tests/acceptance/test_degradation.py.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import pq

from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from odata.postgresql import answering
from odata.postgresql.answering import WatchfulConnection, is_there

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def watchful() -> Iterator[WatchfulConnection]:
    with WatchfulConnection.connect(database_url(), autocommit=True) as opened:
        yield opened


def test_a_statement_that_takes_long_is_waited_for(
    watchful: WatchfulConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []

    def look() -> bool:
        looks.append(is_there())
        return looks[-1]

    monkeypatch.setattr(answering, "PATIENCE", 0.05)
    monkeypatch.setattr(answering, "is_there", look)
    with psycopg.connect(database_url(), autocommit=True) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT pg_advisory_lock(1)")
        waiting = threads.submit(watchful.execute, "SELECT 'it comes' FROM pg_advisory_lock(1)")
        wait_until(lambda: len(looks) > 2, "it has looked several times")
        holder.execute("SELECT pg_advisory_unlock(1)")

        assert waiting.result().fetchone() == ("it comes",)
    assert all(looks)


def test_an_error_of_a_statement_is_an_answer(watchful: WatchfulConnection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        watchful.execute("SELECT 1 / 0")

    assert watchful.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_takes_no_more_connections_is_there() -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with psycopg.connect(database_url(), dbname="postgres", autocommit=True) as beside:
        beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            assert is_there()
        finally:
            beside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_a_server_in_a_network_that_swallows_everything_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with swallowing() as port:
        address = {"dbname": "odata", "host": "127.0.0.1", "port": port}
        monkeypatch.setattr(connection, "get_connection_params", lambda: address)

        assert not is_there()


def test_a_lost_network_ends_a_connection_before_an_imports_lease_ends() -> None:
    options = settings.DATABASES["default"]["OPTIONS"]
    told = " ".join(f"{name}={value}" for name, value in options.items() if name.startswith(("tcp", "keepalives")))
    with swallowing() as port:
        line = pq.PGconn.connect_start(f"host=127.0.0.1 port={port} {told}".encode())
        wait_until(lambda: line.connect_poll() == pq.PollingStatus.READING, "it waits for an answer")
        with socket.socket(fileno=line.socket) as ours:
            patience = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            idle = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            ours.detach()
        line.finish()

    assert 0 < patience < 1000 * settings.IMPORT_LEASE_SECONDS
    assert 0 < idle < settings.IMPORT_LEASE_SECONDS


class swallowing:  # noqa: N801 - reads as a function
    """A port that takes connections and bytes, and says nothing."""

    def __enter__(self) -> int:
        self._socket = socket.create_server(("127.0.0.1", 0))
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()
