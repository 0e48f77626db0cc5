"""`manage.py up` with real processes: one home that is started, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from common.tests.addresses import free_port
from common.tests.waiting import wait_until
from odata.embedded.places import Places
from odata.tests.running import Up, environment, fresh_folder, manage


def running(home: Path, **changes: str) -> Up:
    up = Up(home, **changes)
    up.await_line("OData Backend is running at")
    return up


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """A service from nothing but the leftover of an initdb that was killed."""
    with fresh_folder() as folder:
        home = folder / "home"
        (home / "postgres.unfinished" / "base").mkdir(parents=True)
        up = running(home, SAMPLE="2000")
        try:
            yield up
        finally:
            up.stop()


def database(home: Path) -> psycopg.Connection:
    return psycopg.connect(host=str(Places(home).sockets), user="odata", dbname="odata", autocommit=True)


def test_it_starts_everything_from_nothing(up: Up) -> None:
    web = requests.get(f"{up.address}/livez", timeout=10)
    live = requests.get(f"http://127.0.0.1:{up.live_port}/livez", timeout=10)

    assert (web.status_code, live.status_code) == (200, 200)
    up.await_line("imports@")
    up.await_line("default@")
    assert up.child("beat").is_running()


def test_it_imports_a_sample_through_the_api(up: Up) -> None:
    last = up.await_line("2,000 rows imported in")

    with database(up.home) as connection:
        products = connection.execute("SELECT count(*), min(sku), max(sku) FROM products_product").fetchone()
        (import_id,) = connection.execute("SELECT id FROM products_import WHERE state = 'SUCCESS'").fetchone() or ("",)
        wait_until(lambda: connection.execute("SELECT FROM accounts_apitoken").fetchall() == [], "its token is revoked")
        users = "SELECT username, is_active, is_superuser FROM accounts_user"
        wait_until(
            lambda: connection.execute(users).fetchall() == [("sample-import", False, False)],
            "its user, the only one, is locked out",
        )

    assert products == (2000, "OD-0000000", "OD-0001999")
    assert last.endswith(f"{up.address}/imports/{import_id}/")
    assert [path.name for path in up.home.glob("sample*")] == []


def test_its_set_up_link_opens(up: Up) -> None:
    link = up.await_line("first administrator").split(": ", 1)[1]

    answer = requests.get(link, timeout=10)

    assert answer.status_code == 200


def test_nothing_in_its_home_is_open_to_others(up: Up) -> None:
    everything = [up.home, *up.home.rglob("*")]

    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in everything if path.exists()}

    passable = 0o711 if os.geteuid() == 0 else 0o700  # root's home is passed through by the database's user
    assert modes.pop(up.home) == passable
    assert len(modes) > 100
    assert [path for path, mode in modes.items() if mode & 0o077] == []


def test_other_commands_find_its_database(up: Up) -> None:
    done = manage("migrate", "--check", env=environment(up.home))

    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_finds_nothing_wrong_with_it(up: Up) -> None:
    up.await_line("webhooks@")

    done = manage("doctor", env=up.env)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "ok       worker-imports: 1 on " in done.stdout
    assert "0 error, 0 warning" in done.stdout


def test_its_database_logs_no_statement_of_a_session_that_is_ended(up: Up) -> None:
    """Its values are in it."""
    with database(up.home) as ends:
        for number in (1, 2):
            with database(up.home) as session:
                ended = threading.Thread(target=asleep, args=(session,))
                pid = session.info.backend_pid
                ended.start()
                wait_until(partial(ends_asleep, ends, pid), "it sleeps, and is ended")
                ended.join()
            wait_until(partial(has_said, up, "due to administrator command", number), "a line about it")

    assert "canary" not in up.output


def ends_asleep(session: psycopg.Connection, pid: int) -> bool:
    ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    return session.execute(ask, [pid]).fetchone() is not None


def has_said(up: Up, text: str, times: int) -> bool:
    return up.output.count(text) >= times


def asleep(session: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.AdminShutdown):
        session.execute("SELECT pg_sleep(60), 'canary'")


def test_nothing_is_restored_while_it_runs(up: Up) -> None:
    """Nor while it rests, when none of its processes has a connection."""
    backup = up.home / "today.odata"
    assert manage("backup", str(backup), env=up.env).returncode == 0

    done = manage("restore", str(backup), "--replace", env=up.env)
    backup.unlink()

    assert done.returncode == 1
    assert f"The service is running already (process {up.process.pid})" in done.stderr


def test_a_second_start_says_so(up: Up) -> None:
    done = manage("up", env=environment(up.home, PORT=str(free_port()), LIVE_PORT=str(free_port())))

    assert done.returncode == 1
    assert done.stderr.startswith(f"The service is running already (process {up.process.pid}) on {up.home}: stop it")
    assert done.stderr.count("\n") == 1


def test_a_process_that_dies_is_started_again(up: Up) -> None:
    first = up.child("daphne")

    first.kill()

    up.await_line("live     | ended (killed by SIGKILL), starting it again in 1 s")
    wait_until(lambda: _answers(up.live_port), "the live server answers again")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_it_outlives_every_kind_of_end(up: Up) -> None:
    """Killed with all it started, killed alone, stopped: what was committed is there after each."""
    with database(up.home) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")

    up.kill_everything()
    second = running(up.home)
    with database(up.home) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
        connection.execute("INSERT INTO kept VALUES (2)")

    children = second.children()
    second.process.kill()
    second.process.wait()
    _, left = psutil.wait_procs(children, timeout=60)
    assert left == []  # the kernel told them
    third = running(up.home)
    with database(up.home) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(1,), (2,)]

    children = third.children()
    code = third.stop()
    assert code == 0
    assert not any(child.is_running() for child in children)
    ends = [third.output.index(text) for text in ("Stopping", "bye bye", "database system is shut down")]
    assert ends == sorted(ends)
    assert "by force" not in third.output


def test_a_taken_port_is_named() -> None:
    with fresh_folder() as home, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        done = manage("up", env=environment(home, PORT=str(port), LIVE_PORT=str(free_port())))

        assert done.returncode == 1
        assert done.stderr == f"Port {port} is taken by another program: end that, or set PORT to a free port.\n"


def test_who_waits_for_a_server_of_their_own_is_told_at_once_what_it_says() -> None:
    with fresh_folder() as folder:
        up = Up(folder / "home", DATABASE_URL=f"postgresql://odata:canary@127.0.0.1:{free_port()}/odata")
        try:
            line = up.await_line("Waiting for the server of DATABASE_URL, 60 s at most: ")
        finally:
            code = up.stop()

    assert "Connection refused" in line
    assert "canary" not in up.output
    assert code == 0


def test_data_of_a_newer_version_is_left_alone() -> None:
    with fresh_folder() as home:
        data = Places(home).postgres_data
        data.mkdir(mode=0o700)
        (data / "PG_VERSION").write_text("99\n")

        done = manage("up", env=environment(home, PORT=str(free_port()), LIVE_PORT=str(free_port())))

        assert done.returncode == 1
        assert "holds data of PostgreSQL 99, and this is PostgreSQL 18: nothing was touched" in done.stderr
        assert done.stderr.count("\n") == 1
        assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


def test_a_home_that_can_not_be_written_is_named() -> None:
    done = manage("up", env=environment(Path("/proc/odata")))

    assert done.returncode == 1
    assert done.stderr.startswith("ODATA_HOME is /proc/odata, where /proc/odata can't be read or written:")
    assert done.stderr.count("\n") == 1


def test_an_administrator_of_the_settings_is_made_without_a_link() -> None:
    with fresh_folder() as folder:
        password = folder / "password"
        password.write_text("correct horse battery")
        up = running(folder / "home", ADMIN_USERNAME="ada", ADMIN_PASSWORD_FILE=str(password))
        try:
            with database(up.home) as connection:
                rows = connection.execute("SELECT username, is_superuser FROM accounts_user").fetchall()
        finally:
            up.process.send_signal(signal.SIGTERM)
            code = up.stop()

    assert rows == [("ada", True)]
    assert "/setup/" not in up.output
    assert code == 0
