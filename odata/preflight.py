"""What `manage.py up` looks at before it starts anything. Each problem is one StartError."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from odata.embedded.errors import StartError
from odata.embedded.places import Places

LEAST_FREE_BYTES = 1_000_000_000
FAREWELL_SECONDS = 20
"""How long the processes of an earlier, killed run may take to give their ports back."""


@dataclass(frozen=True)
class Claim:
    """That this ODATA_HOME is ours. ``after_crash``: the run before us did not end in order."""

    after_crash: bool


@contextlib.contextmanager
def claim(places: Places) -> Iterator[Claim]:
    """Keep a second `up` away from this home for as long as we run; the kernel lets go if we are killed.

    The file holds our process id while we run. Found there by the next run, it tells of a crash.
    """
    path = places.home / "up.pid"
    try:
        places.make_home()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"ODATA_HOME is {places.home}, which can't be used: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(
                f"The service is running already (process {file.read().strip() or 'unknown'}) on {places.home}: "
                f"stop it first, or set ODATA_HOME, PORT and LIVE_PORT to start another one beside it."
            ) from None
        after_crash = bool(file.read())
        rewrite(file.fileno(), str(os.getpid()))
        try:
            yield Claim(after_crash)
        finally:
            rewrite(file.fileno(), "")


def rewrite(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode("ascii"), 0)


def check_port(host: str, port: int, setting: str, *, patient: bool) -> None:
    """Nobody else listens there. After a crash the port may need a moment to come free."""
    deadline = time.monotonic() + (FAREWELL_SECONDS if patient else 0)
    while (problem := port_problem(host, port)) is not None:
        if problem != errno.EADDRINUSE:
            raise StartError(f"{host}:{port} can't be listened on ({os.strerror(problem)}): change HOST or {setting}.")
        if time.monotonic() >= deadline:
            raise StartError(f"Port {port} is taken by another program: end that, or set {setting} to a free port.")
        time.sleep(0.2)


def port_problem(host: str, port: int) -> int | None:
    """The error number of an attempt to listen there, or None."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT don't count
            probe.bind(address)
            probe.listen()
    except socket.gaierror:
        raise StartError(f"HOST={host} is no address of this machine.") from None
    except OSError as error:
        return error.errno
    return None


def check_disk(folder: Path, least: int = LEAST_FREE_BYTES) -> None:
    """There is room for the database to work, its log and a file or two."""
    free = shutil.disk_usage(folder).free
    if free < least:
        raise StartError(
            f"The disk of {folder} has {free / 1e6:,.0f} MB left, and {least / 1e6:,.0f} MB are needed: "
            f"make room, or set ODATA_HOME to a folder on another disk."
        )


def check_reachable(places: Places) -> None:
    """The database was not made when home was open to the servers' user, and closed to it since."""
    inside = places.home / "postgres"
    if places.servers != places.home and inside.exists():
        raise StartError(
            f"{inside} holds the database, but its user can't pass the folders above it any more: allow that with "
            f"`chmod o+x` on each, or move {places.home} to a folder that others may pass and set ODATA_HOME."
        )


def allow_many_files() -> None:
    """A connection is an open file; the usual limit of 1024 ends a burst of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if most == resource.RLIM_INFINITY else min(most, 65536)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
