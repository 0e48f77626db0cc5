"""The look at a connection before it is used, and the times that are read from it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from common.tests.addresses import database_url
from odata.postgresql import base
from odata.postgresql.base import is_alive
from products.tests.web_server import running

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url(), autocommit=True) as opened:
        yield opened


def statements(of: psycopg.Connection) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [of.info.backend_pid])
        return str(cursor.fetchone()[0])


def test_one_that_lives_is_not_asked(other: psycopg.Connection) -> None:
    other.execute("SELECT 'the last'")

    assert is_alive(other)
    assert statements(other) == "SELECT 'the last'"


def test_one_that_the_server_has_ended_is_known_at_once(other: psycopg.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [other.info.backend_pid])

    assert not is_alive(other)


def test_one_that_is_closed_does_not_live(other: psycopg.Connection) -> None:
    other.close()

    assert not is_alive(other)


def test_one_that_has_rested_is_asked(other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    other.execute("SELECT 'the last'")
    is_alive(other)
    monkeypatch.setattr(base, "IDLE_SECONDS", -1)

    assert is_alive(other)
    assert statements(other) == ""


def test_a_message_of_the_server_is_not_taken_for_its_end(other: psycopg.Connection) -> None:
    other.execute("LISTEN news")
    with psycopg.connect(database_url(), autocommit=True) as sender:
        sender.execute("NOTIFY news")

    assert is_alive(other)


def test_times_are_in_utc() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT '2026-03-01 12:00+02'::timestamptz, now(), 'infinity'::timestamptz > now()")
        noon, now, _ = cursor.fetchone()

    assert noon == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert noon.utcoffset() == timedelta(0)
    assert abs(timezone.now() - now) < timedelta(minutes=5)


@pytest.mark.django_db(transaction=True)
def test_a_web_process_outlives_the_end_of_all_its_connections(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        read = server.request("GET", "/api/v1/imports/", "Connection: close")
        first, _ = server.send(read)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE application_name = 'odata-web' AND datname = current_database()"
            )
            assert cursor.fetchone()[0] >= 1

        assert (first, server.send(read)[0]) == (200, 200)
