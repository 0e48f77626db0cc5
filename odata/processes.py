"""The processes that make up the service: one list, for `manage.py up` and for docker-compose."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from odata.embedded.supervisor import Program

WORKERS, SERVERS = 2, 3
"""Stages of the stop: the servers of requests go first, the embedded database (0) last."""

QUIET = ("No directory at", "You're running the worker with superuser privileges")
"""Beginnings of Python warnings that tell the operator nothing: no `collectstatic` is needed, and
as root the home is root's. Celery warns of root for the sake of pickle, which we don't take."""

WORKER = ("celery", "--quiet", "-A", "odata", "worker", "--without-gossip", "--without-mingle")


@dataclass(frozen=True)
class Process:
    """One kind of process. ``role`` is its ODATA_PROCESS: `odata.settings` goes by it."""

    name: str
    role: str
    command: tuple[str, ...]
    stage: int
    stop_seconds: float = 20
    env: dict[str, str] = field(default_factory=dict)
    orphan_signal: signal.Signals = signal.SIGTERM

    def program(self, folder: Path, env: dict[str, str]) -> Program:
        """How the supervisor runs it: with our own interpreter, in the project's folder."""
        return Program(
            name=self.name,
            command=(sys.executable, "-m", *self.command),
            stage=self.stage,
            env={
                **env,
                **self.env,
                "ODATA_PROCESS": self.role,
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": ",".join(f"ignore:{beginning}" for beginning in QUIET),
            },
            folder=folder,
            stop_seconds=self.stop_seconds,
            orphan_signal=self.orphan_signal,
        )


def worker(queue: str, children: int, stop_seconds: float = 30) -> Process:
    return Process(
        name=queue,
        role=f"worker-{queue}",
        command=(*WORKER, "-Q", queue, "-c", str(children), "-n", f"{queue}@%h"),
        stage=WORKERS,
        # SIGTERM lets running tasks end and takes no new ones. (Celery's "soft shutdown" would sleep its
        # whole time-out through.) What takes longer is killed, and taken up again at the next start.
        stop_seconds=stop_seconds,
        orphan_signal=signal.SIGKILL,  # without its database there is nothing to end in order
    )


def processes(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    live_port: int = 8001,
    web_workers: int = 1,
    web_threads: int = 128,
    drain_seconds: int = 0,
) -> tuple[Process, ...]:
    """All of them, in the order of their start."""
    web: tuple[str, ...] = (
        "odata.web",
        "--interface",
        "wsgi",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        str(web_workers),
    )
    web += ("--blocking-threads", str(web_threads), "--no-ws", "--respawn-failed-workers", "--log-level", "error")
    # Connections wait here while the threads are busy, rather than being refused.
    web += ("--backlog", "2048", "--backpressure", "2048", "--workers-kill-timeout", "10", "odata.wsgi:application")
    # As a Twisted endpoint, since daphne's own -b and -p take no backlog: 50 is too few for a burst.
    address = host.strip("[]").replace(":", r"\:")
    live: tuple[str, ...] = (
        "daphne",
        "-v",
        "0",
        "-e",
        f"tcp:port={live_port}:interface={address}:backlog=2048",
        "--no-server-name",
    )
    # Watchers have nothing to say: what is longer is an attack.
    live += ("--websocket-max-message-size", "65536", "--websocket-max-frame-size", "65536")
    return (
        worker("default", 2),
        worker("imports", 1),
        # Two dispatchers. An attempt that is on its way may take 30 s, and is waited for.
        worker("webhooks", 2, stop_seconds=40),
        Process("beat", "beat", ("celery", "--quiet", "-A", "odata", "beat"), WORKERS),
        Process("live", "live", (*live, "odata.asgi:application"), SERVERS),
        Process("web", "web", web, SERVERS, stop_seconds=20 + drain_seconds),
    )
