"""Webhooks: deliveries a second of one dispatcher and of two, from commit to arrival, memory, and isolation.

    .venv/bin/python benchmarks/deliveries.py [--only throughput memory latency isolation] [--profile FILE]

The receiver is a process on the same machine (`receiver.py`), bodies are 1 KB, keep-alive, plain HTTP, once TLS.
Throughput and memory are of dispatchers alone, as `webhooks.dispatcher.run` in a process of its own; the rest runs as
in the service: beat, a worker of the queue `webhooks`, nudges on commit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from memory import MB, Tree
from place import PROJECT, Place, free_port, fresh_place

from webhooks.tests.certificates import Authority

COUNT = 15_000
ENDPOINTS = 10
RUNS = 3
TLS_OPEN = 25
"""Requests open at a time of one endpoint over TLS, as is the default: else handshakes would be measured."""
SLOW = "/after/0.3"
FILLER = "x" * 850
"""Makes a body of 1 KB."""
RUN = """
import time, django; django.setup()
from django.db import connection
from webhooks import dispatcher
waits = True
while waits:
    dispatcher.run()
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM webhooks_delivery_pending)")
        [waits] = cursor.fetchone()
    time.sleep(0.05)
"""
"""As a worker does: the next one begins where one hands over after a minute, or found that another had taken all that
was due, until there is nothing left."""
PROFILED = """
import cProfile, django; django.setup()
from webhooks import dispatcher
cProfile.run("dispatcher.run()", {file!r})
"""
PARTS = ("throughput", "memory", "latency", "isolation")


class Receiving:
    """The receiver, which dispatchers are allowed to send to and whose certificate they trust, and what it says."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        self.port, self.tls_port = free_port(), free_port()
        program = [sys.executable, str(PROJECT / "benchmarks" / "receiver.py")]
        arguments = [str(self.port), str(self.tls_port), str(authority.certificate("127.0.0.1"))]
        self.process = subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout and self.process.stdout.readline()
        os.environ |= {
            "WEBHOOK_ALLOWED_CIDRS": "127.0.0.0/8",
            "WEBHOOK_ALLOWED_PORTS": f"{self.port},{self.tls_port}",
            "WEBHOOK_CA_FILE": str(authority.path),
        }

    def url(self, path: str = "/hooks") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def tls_url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.tls_port}{path}"

    def seen(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url("/")) as answer:  # noqa: S310 - our own
            return dict(json.load(answer))


@contextlib.contextmanager
def receiving(place: Place) -> Iterator[Receiving]:
    receiver = Receiving(place.home)
    try:
        yield receiver
    finally:
        receiver.process.terminate()
        receiver.process.wait()


def measure(place: Place, parts: Collection[str] = PARTS) -> dict[str, Any]:
    """What was measured, by part."""
    with receiving(place) as receiver:
        measured: dict[str, Any] = {}
        if "throughput" in parts:
            measured["one"] = throughput(receiver, 1)
            measured["one, TLS"] = throughput(receiver, 1, tls=True)
            measured["two"] = throughput(receiver, 2)
            # All of the above share the processors. Where a receiver takes its time, as they do, there is room.
            measured["one, waiting"] = throughput(receiver, 1, path=SLOW)
            measured["two, waiting"] = throughput(receiver, 2, path=SLOW)
        if "memory" in parts:
            measured["memory"] = memory(receiver)
        if {"latency", "isolation"} & set(parts):
            with service(place):
                if "latency" in parts:
                    measured["idle"] = latency(receiver, per_second=2, seconds=15)
                    measured["busy"] = latency(receiver, per_second=500, seconds=12)
                if "isolation" in parts:
                    measured["isolation"] = isolation(receiver)
    return measured


def forget() -> None:
    from django.db import connection

    from webhooks.models import WebhookEndpoint

    WebhookEndpoint.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE webhooks_event, webhooks_delivery, webhooks_attempt, webhooks_endpointminute")


def listen(url: str, **fields: Any) -> Any:
    from webhooks import keys
    from webhooks.models import WebhookEndpoint

    endpoint = WebhookEndpoint.objects.create(url=url, event_types=["ping"], **fields)
    keys.issue_keys(endpoint)
    return endpoint


def pile_up(count: int) -> None:
    """So many events of 1 KB for each endpoint, due now."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH event AS (
                INSERT INTO webhooks_event (id, event_type, body)
                SELECT uuidv7(), 'ping',
                       '{"type":"ping","timestamp":"2026-01-01T00:00:00+00:00","data":{"n":' || number || ',"text":"'
                       || %s || '"}}'
                  FROM generate_series(1, %s) AS number
                RETURNING id
            )
            INSERT INTO webhooks_delivery (id, event_id, endpoint_id, event_type)
            SELECT uuidv7(), event.id, endpoint.id, 'ping' FROM event, webhooks_webhookendpoint AS endpoint
            """,
            [FILLER, count],
        )
        cursor.execute("VACUUM ANALYZE webhooks_delivery_pending")


def throughput(receiver: Receiving, dispatchers: int, path: str = "/hooks", tls: bool = False) -> dict[str, Any]:
    """The median of some runs."""
    runs = sorted((drain(receiver, dispatchers, path, tls=tls) for _ in range(RUNS)), key=lambda run: run["per_second"])
    return runs[len(runs) // 2]


def drain(receiver: Receiving, dispatchers: int, path: str, code: str = RUN, *, tls: bool = False) -> dict[str, Any]:
    """How so many dispatchers deliver what has piled up, for ten endpoints that take all that comes."""
    forget()
    for number in range(ENDPOINTS):
        listen(
            (receiver.tls_url if tls else receiver.url)(f"{path}/{number}"),
            rate_per_second=1000,
            concurrency=TLS_OPEN if tls else 100,
        )
    pile_up(COUNT * dispatchers // ENDPOINTS)
    receiver.seen()
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.DEVNULL)
        for _ in range(dispatchers)
    ]
    used = [cpu_of(process) for process in started]
    seen = receiver.seen()
    assert seen["requests"] == COUNT * dispatchers, f"{seen['requests']} came; {errors()}"
    return {
        "per_second": round(seen["requests"] / (seen["last"] - seen["first"])),
        "reused": round(1 - seen["connections"] / seen["requests"], 4),
        "cpu_ms_each": round(sum(used) / seen["requests"] * 1000, 3),
    }


def errors() -> dict[str, int]:
    """What went wrong, and how often."""
    from django.db.models import Count

    from webhooks.models import Attempt

    return dict(Attempt.objects.exclude(status=200).order_by().values_list("error").annotate(Count("pk")))


def profile(place: Place, file: str) -> None:
    """Where one dispatcher spends its time."""
    with receiving(place) as receiver:
        print(drain(receiver, 1, "/hooks", PROFILED.format(file=file)))


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """Wait for it; the seconds of processor time that it took."""
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


def memory(receiver: Receiving) -> dict[str, Any]:
    """The most that a dispatcher takes with 500 requests open."""
    forget()
    for number in range(60):
        listen(receiver.url(f"/after/3/{number}"), rate_per_second=100, concurrency=50)
    pile_up(40)
    receiver.seen()
    process = subprocess.Popen([sys.executable, "-c", RUN], cwd=PROJECT)
    deadline, most = time.monotonic() + 15, 0
    while time.monotonic() < deadline and process.poll() is None:
        most = max(most, Tree(process.pid).highest_resident())
        time.sleep(0.1)
    process.kill()
    process.wait()
    return {"resident_mb": round(most / MB), "most_open": receiver.seen()["most_open"]}


@contextlib.contextmanager
def service(place: Place) -> Iterator[None]:
    from odata.processes import processes

    names = {process.name: process for process in processes()}
    for name in ("webhooks", "beat"):
        place.supervisor.start(names[name].program(PROJECT, {}))
    try:
        await_ready(place)
        yield
    finally:
        for name in ("beat", "webhooks"):
            place.supervisor.stop(name)


def await_ready(place: Place) -> None:
    """Until the worker has forked its dispatchers and all are idle. Beat sends its first message at once."""
    tree = Tree(place.supervisor.children["webhooks"].process.pid)
    deadline = time.monotonic() + 60
    while len(tree.pids()) < 3:
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not start")
        time.sleep(0.1)
    tree.await_steady()


def publish(count: int = 1) -> None:
    """So many events in one transaction, with the time of its commit as near as can be known."""
    from django.db import transaction

    from webhooks import outbox

    with transaction.atomic():
        for _ in range(count):
            outbox.publish("ping", {"committed": time.time(), "text": FILLER})


def publish_at(per_second: int, seconds: float) -> None:
    each = max(1, per_second // 50)
    started, sent = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        publish(each)
        sent += each
        time.sleep(max(0.0, started + sent / per_second - time.monotonic()))


def latency(receiver: Receiving, *, per_second: int, seconds: float) -> dict[str, Any]:
    """From commit to arrival. The events have 1 endpoint, which may have as many a second as it likes."""
    forget()
    listen(receiver.url(), rate_per_second=1000, concurrency=100)
    receiver.seen()
    publish_at(per_second, seconds)
    time.sleep(5)
    seen = receiver.seen()
    return {"events": seen["requests"], **percentiles(seen["delays"].get("/hooks", []))}


def isolation(receiver: Receiving, seconds: float = 20) -> dict[str, Any]:
    """How long the events of ten endpoints take, at 100 a second in all; alone, and beside one that always hangs."""
    found = {}
    for turn in ("alone", "beside"):
        forget()
        for number in range(10):
            listen(receiver.url(f"/hooks/{number}"))
        if turn == "beside":
            listen(receiver.url("/after/20"), timeout_seconds=15)
        receiver.seen()
        publish_at(10, seconds)
        time.sleep(2)
        delays = receiver.seen()["delays"]
        found[turn] = percentiles([delay for path, some in delays.items() if path != "/after/20" for delay in some])
    return {**found, "ratio": round(found["beside"]["p95_ms"] / found["alone"]["p95_ms"], 2)}


def percentiles(delays: list[float]) -> dict[str, Any]:
    delays = sorted(delays)
    if not delays:
        return {"p50_ms": 0, "p95_ms": 0, "most_ms": 0}
    at = {"p50_ms": 0.5, "p95_ms": 0.95, "most_ms": 1.0}
    return {name: round(1000 * delays[int((len(delays) - 1) * share)], 1) for name, share in at.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--profile", default="", help="a file for cProfile's statistics of one dispatcher")
    options = parser.parse_args()
    with fresh_place() as place:
        if options.profile:
            profile(place, options.profile)
            return
        measured = measure(place, options.only or PARTS)
    for name, figures in measured.items():
        print(name, json.dumps(figures))


if __name__ == "__main__":
    main()
