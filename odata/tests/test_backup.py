"""Backups and restores that are cut off, or meet each other."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

from odata import backup
from odata.tests.running import manage, wait_until

ROWS = 200_000
RESTORE = """
import sys
import django
django.setup()
from odata import backup
backup._restore_database(open(sys.argv[1], "rb"))
"""
PLACE = {"host": str(settings.PLACES.sockets), "user": "odata"}


@pytest.fixture
def database(transactional_db: None) -> Iterator[dict[str, str]]:
    """A small database beside that of the tests; gives the environment of a command that uses it."""
    with psycopg.connect(make_conninfo(**PLACE, dbname="postgres"), autocommit=True) as server:
        server.execute("CREATE DATABASE cut_off")
        with psycopg.connect(make_conninfo(**PLACE, dbname="cut_off"), autocommit=True) as made:
            made.execute("CREATE TABLE django_migrations (app text, name text)")
            made.execute(
                f"CREATE TABLE kept AS SELECT number, md5(number::text) FROM generate_series(1, {ROWS}) number"
            )
        yield {**os.environ, "DATABASE_URL": f"postgresql://odata@/cut_off?host={PLACE['host']}"}
        server.execute("DROP DATABASE cut_off WITH (FORCE)")


def test_a_restore_that_is_killed_leaves_the_database_as_it_was(database: dict[str, str], tmp_path: Path) -> None:
    file, line = tmp_path / "backup.odata", tmp_path / "line"
    made = manage("backup", str(file), env=database)
    assert made.returncode == 0, made.stderr
    with tarfile.open(file) as tar:
        dump = tar.extractfile(backup.DATABASE).read()  # type: ignore[union-attr]
    change("UPDATE kept SET number = -1 WHERE number = 1")
    os.mkfifo(line)
    script = (
        f"import django; django.setup(); from odata import backup; backup._restore_database(open({str(line)!r}, 'rb'))"
    )
    restoring = subprocess.Popen([sys.executable, "-c", script], env=database, cwd=settings.BASE_DIR)
    with line.open("wb") as half:
        half.write(dump[: len(dump) // 2])
        half.flush()
        wait_until(lambda: sessions("AND query LIKE 'COPY%'"), "half of the rows are on their way")
        restoring.kill()
        restoring.wait()

    wait_until(lambda: not sessions(), "its programs have ended")
    assert change("SELECT count(*), min(number) FROM kept") == [(ROWS, -1)]


def change(statement: LiteralString) -> list[tuple[int, int]]:
    with psycopg.connect(make_conninfo(**PLACE, dbname="cut_off"), autocommit=True) as there:
        done = there.execute(statement)
        return done.fetchall() if done.description else []


def sessions(condition: str = "") -> int:
    """How many of a backup's or restore's programs are connected."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'odata-backup' {condition}")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_of_two_backups_to_the_same_file_each_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "backup.odata"
    together, problems = threading.Barrier(2), []

    def write() -> None:
        together.wait()
        try:
            backup.write(target)
            backup.verify(target)
        except Exception as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not problems
    assert [path.name for path in tmp_path.iterdir()] == ["backup.odata"]
