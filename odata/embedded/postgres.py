"""A PostgreSQL of our own, reachable through a socket in a closed folder and nowhere else."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from odata.embedded import binaries
from odata.embedded.errors import StartError
from odata.embedded.places import Account, Places
from odata.embedded.supervisor import Child, Program, Supervisor, await_ready

MB = 1024 * 1024
START_SECONDS = 600
"""After a crash PostgreSQL replays up to max_wal_size of its log before it answers."""

FAREWELL_SECONDS = 60
"""How long the server of an earlier, killed run may take to end."""

LOCKED_OUT = ("lock file", "is still in use")
"""Of messages by which a server says that another one still has the data folder."""

C_LOCALE = {"LC_ALL": "C", "LANG": "C"}


@dataclass(frozen=True)
class Postgres:
    """The server on one data folder. ``durable=False`` trades safety for speed: only for tests."""

    places: Places
    account: Account
    bin: Path
    durable: bool = True

    @classmethod
    def at(cls, places: Places, *, durable: bool = True) -> Postgres:
        """Find programs and user for these places. Raises StartError."""
        account = places.account()
        return cls(places, account, binaries.postgres_bin(places, account), durable)

    def start(self, supervisor: Supervisor) -> None:
        """Make the data folder if there is none, start, wait until it answers, make the database."""
        if not self.places.postgres_data.exists():
            self._make_data_folder()
        check_version(self.places.postgres_data, self.major)
        self._write_access_rules()
        program = self.program()
        deadline = time.monotonic() + FAREWELL_SECONDS
        while True:
            child = supervisor.start(program)
            ready = functools.partial(self.is_ready, child)
            try:
                await_ready(child, ready, seconds=START_SECONDS, waiting=self._reminder(supervisor))
                break
            except StartError:
                supervisor.stop(program.name)
                if time.monotonic() > deadline or not is_locked_out(child):
                    raise
                time.sleep(0.5)
        self._make_database()

    @property
    def major(self) -> int:
        """The version of the program, such as 18."""
        said = subprocess.run([self.bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        return int(said.stdout.split()[-1].split(".")[0])

    def _make_data_folder(self) -> None:
        """Run initdb aside and rename: the folder is there whole or not at all, whatever kills us."""
        data = self.places.postgres_data
        draft = data.with_name("postgres.unfinished")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        os.chown(draft, self.account.uid, self.account.gid)
        # The locale is the server's own, so that the machine's is of no importance.
        command = [str(self.bin / "initdb"), "-D", str(draft), "-U", "odata", "--encoding=UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=peer"]
        command += [] if self.durable else ["--no-sync"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd="/",
            env={**os.environ, **C_LOCALE},
            check=False,
            **binaries.run_as(self.account),
        )
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise StartError(f"PostgreSQL could not make its data folder {data}: {lines[-1]}")
        draft.rename(data)

    def _write_access_rules(self) -> None:
        """Who may connect: the users that run the server and the application, told by the kernel."""
        us = Account.of(os.geteuid())
        users = sorted({self.account.name, us.name})
        self._write("pg_hba.conf", "local all all peer map=odata\n")
        self._write("pg_ident.conf", "".join(f'odata "{user}" odata\n' for user in users))

    def _write(self, name: str, text: str) -> None:
        """Replace a file of the data folder. The draft is new: a link put there is not followed."""
        draft = self.places.postgres_data / f"{name}.{secrets.token_hex(4)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchown(file.fileno(), self.account.uid, self.account.gid)
            file.write(text)
        draft.replace(self.places.postgres_data / name)

    def program(self) -> Program:
        settings = self._settings()
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            command=(str(self.bin / "postgres"), "-D", str(self.places.postgres_data), *options),
            stage=0,
            env=C_LOCALE,
            account=self.account,
            stop_signal=signal.SIGINT,  # fast shutdown: transactions end, data is written
            orphan_signal=signal.SIGINT,
            stop_seconds=300,
            leader=False,
        )

    def _settings(self) -> dict[str, str]:
        memory = memory_bytes()
        free = shutil.disk_usage(self.places.postgres_data).free
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.places.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": f"{max(16, min(512, memory // MB // 4))}MB",
            "effective_cache_size": f"{max(64, memory // MB // 2)}MB",
            "work_mem": "16MB",
            "maintenance_work_mem": f"{max(16, min(256, memory // MB // 16))}MB",
            # Few, large checkpoints: a whole import between two. A crash replays this much.
            "max_wal_size": f"{max(256, min(4096, free // MB // 4))}MB",
            "checkpoint_timeout": "15min",
            "log_checkpoints": "off",
            "log_line_prefix": "",
            "log_min_error_statement": "panic",  # whoever sent it tells what failed; values stay out of the log
            "log_error_verbosity": "terse",  # without the lines that quote rows
            "log_timezone": "UTC",
            "random_page_cost": "1.1",
            "jit": "off",
            # No replica reads our log. What a crash needs is all there (manual, wal_level).
            "wal_level": "minimal",
            "max_wal_senders": "0",
        }
        if shared_memory_is_small():
            settings["dynamic_shared_memory_type"] = "mmap"
        if not self.durable:
            # What is committed outlives a crash of the server, though not one of the machine. Full page writes
            # stay: without them PostgreSQL 18.6 itself crashes where it replays a BRIN index of a table that was
            # truncated later.
            settings |= {"fsync": "off"}
        return settings

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.places.sockets), user="odata", dbname=database, autocommit=True, connect_timeout=5
        )

    def is_ready(self, child: Child) -> bool:
        """Does the server say so? Line 1 of its pid file is whose it is, line 8 how far it is (pg_ctl reads it too)."""
        try:
            lines = (self.places.postgres_data / "postmaster.pid").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(child.process.pid) and lines[7].strip() == "ready"

    def _make_database(self) -> None:
        with self.connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'odata'").fetchone() is None:
                connection.execute("CREATE DATABASE odata")

    def _reminder(self, supervisor: Supervisor) -> Callable[[], None]:
        return lambda: supervisor.say("postgres", "is not ready yet; after a crash it reads its log first")


def check_version(data: Path, ours: int) -> None:
    """Leave data of another version alone. Raises StartError."""
    try:
        theirs = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartError(
            f"{data} is no PostgreSQL data folder (PG_VERSION: {error.strerror}): put the data back, "
            f"or move that folder away to start empty."
        ) from None
    if theirs != str(ours):
        way = "install the release that wrote it" if theirs > str(ours) else "upgrade it with pg_upgrade"
        raise StartError(
            f"{data} holds data of PostgreSQL {theirs}, and this is PostgreSQL {ours}: nothing was touched; "
            f"{way}, set DATABASE_URL to a server of that version, or set ODATA_HOME to another folder."
        )


def is_locked_out(child: Child) -> bool:
    return any(sign in line for line in child.said for sign in LOCKED_OUT)


def memory_bytes() -> int:
    """The memory of this machine or, if that is less, of this container."""
    amounts = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            amounts.append(int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):  # not that kind of cgroup, or "max": no limit
            continue
    return min(amounts)


def shared_memory_is_small() -> bool:
    """Containers often have 64 MB of /dev/shm, where parallel queries would run out of it."""
    shm = Path("/dev/shm")  # noqa: S108 - only its size is read
    return not shm.is_dir() or shutil.disk_usage(shm).total < 256 * MB
