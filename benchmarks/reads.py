"""How many requests a second one web process answers, and how soon: a page of 50 products, and one product.

    .venv/bin/python benchmarks/reads.py        this alone, some 3 minutes

The peer is FastAPI with SQLModel, asyncpg and uvicorn, one worker (peers/fastapi_reads.py). *Plain* is our own service
with a ModelSerializer and DRF's renderer in place of what we do (plain_reads.py). All of them have the same products in
the same database, ask for the same token, may have as many connections to the database, and write no log of requests.
The peer looks the token up with each request, ours twice a second. They are asked in turns by wrk, which has one of the
processors much to itself.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from database import connect
from place import PROJECT, Place, free_port, fresh_place
from service import BenchmarkError

from odata.embedded.supervisor import Program

CONNECTIONS, SECONDS, REPEATS = 50, 3, 5
CROWD, CROWD_SECONDS = 1000, 10
PRODUCTS, PAGE, DEEP = 500_050, 50, 10_000
LOOKS = 300
"""Requests for the first page and for the deep one, in turns."""
TARGETS = {"list of 50": "/api/v1/products/", "detail": "/api/v1/products/SKU-0250000/"}
FILL = """
INSERT INTO products_product (sku, name, description, status, attributes)
SELECT 'SKU-' || lpad(n::text, 7, '0'), 'Product number ' || n, 'A description of product ' || n || ', in some words',
       'active', jsonb_build_object('colour', 'red', 'weight', n %% 1000, 'sizes', jsonb_build_array('S', 'M'))
  FROM generate_series(1, %s) n ON CONFLICT DO NOTHING
"""
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
COUNT = re.compile(r"(\d+) requests in")
P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s)")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
FAILED = re.compile(r"Non-2xx or 3xx responses: \d+|Socket errors: .+")


def measure(place: Place, secret: str, peers_python: Path) -> dict[str, Any]:
    """All figures. The catalogue should be empty, and is left full. Raises BenchmarkError."""
    if shutil.which("wrk") is None:
        raise BenchmarkError("wrk is not there: `apt-get install wrk` (or brew, dnf) installs it")
    with connect(place.places.database_url) as connection:
        connection.execute(FILL, [PRODUCTS])
        connection.execute("VACUUM (ANALYZE) products_product")
    addresses = {
        "ours": start_web(place, "reads", API_RATE_LIMIT="0"),
        "ours, limited": start_web(place, "reads-limited", API_RATE_LIMIT="1000000000"),
        "plain": start_web(place, "reads-plain", application="plain_reads:application", API_RATE_LIMIT="0"),
        "peer": start_peer(place, peers_python),
    }
    for path in TARGETS.values():
        same_answers([address + path for address in addresses.values()], secret)
    ours = addresses["ours"]
    found = {
        "rates": in_turns(addresses, secret),
        "deep": {order: deep_pages(ours, secret, order) for order in ("id", "sku")},
        "crowd": {name: crowd(ours + path, secret) for name, path in TARGETS.items()},
    }
    for name in ("reads", "reads-limited", "reads-plain", "peer"):
        place.supervisor.stop(name)
    return found


# --- the processes -----------------------------------------------------------------------------


def start_web(place: Place, name: str, application: str = "", **env: str) -> str:
    """The address of one more web process of ours, with settings of its own, once it answers."""
    from odata.processes import processes

    port = free_port()
    web = next(each for each in processes(port=port) if each.name == "web")
    command = (*web.command[:-1], application or web.command[-1])
    python_path = os.pathsep.join(map(str, (PROJECT, PROJECT / "benchmarks")))
    program = replace(web, name=name, command=command).program(PROJECT, {**env, "PYTHONPATH": python_path})
    place.supervisor.start(program)
    address = f"http://127.0.0.1:{port}"
    await_answer(place, name, f"{address}/api/v1/products/")
    return address


def start_peer(place: Place, peers_python: Path) -> str:
    """The peer's address, once it answers."""
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--log-level", "warning")
    place.supervisor.start(
        Program(
            name="peer",
            command=(str(peers_python), "-m", "uvicorn", "fastapi_reads:app", *options, "--no-access-log"),
            stage=3,
            env={"DATABASE_URL": place.places.database_url},
            folder=PROJECT / "benchmarks" / "peers",
        )
    )
    address = f"http://127.0.0.1:{port}"
    await_answer(place, "peer", f"{address}/openapi.json")
    return address


def await_answer(place: Place, name: str, url: str) -> None:
    """Wait until a server answers, whatever it says."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        child = place.supervisor.children[name]
        if not child.alive:
            raise BenchmarkError(f"{name} has ended: {' / '.join(list(child.said)[-3:])}")
        try:
            requests.get(url, timeout=5)
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    raise BenchmarkError(f"{name} did not answer within 60 s")


def same_answers(urls: list[str], secret: str) -> None:
    """All show the same products in the same fields, and nobody without a token any. Raises BenchmarkError."""
    shown: list[Any] = []
    for url in urls:
        refused = requests.get(url, timeout=30).status_code
        answer = requests.get(url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        if refused != 401 or not answer.ok:
            raise BenchmarkError(f"{url} answered {refused} without a token, {answer.status_code} with one")
        body = answer.json()
        shown.append(body.get("results", body))
    for url, each in zip(urls, shown, strict=True):
        if each != shown[0]:
            raise BenchmarkError(f"{urls[0]} and {url} do not show the same")


# --- what is measured --------------------------------------------------------------------------


def in_turns(addresses: dict[str, str], secret: str) -> dict[str, dict[str, list[float]]]:
    """Requests a second, by target and server. The first round is to get warm."""
    found: dict[str, dict[str, list[float]]] = {target: defaultdict(list) for target in TARGETS}
    for number in range(REPEATS + 1):
        for target, path in TARGETS.items():
            for who, address in addresses.items():
                said = wrk(address + path, secret, CONNECTIONS, SECONDS if number else 1)
                if failed := FAILED.search(said):
                    raise BenchmarkError(f"{who}, {target}: {failed.group()}")
                if number:
                    found[target][who].append(float(_group(RATE, said)))
    return {target: dict(each) for target, each in found.items()}


def crowd(url: str, secret: str) -> dict[str, Any]:
    """1000 connections at once: requests answered, what went wrong, and the 99th percentile of their seconds."""
    requests.get(url, timeout=60)  # answered behind whatever others have left
    said = wrk(url, secret, CROWD, CROWD_SECONDS)
    failed = FAILED.search(said)
    answered = int(_group(COUNT, said))
    number, unit = (P99.search(said) or _missing(said)).groups()
    return {
        "answered": answered,
        "failed": failed.group() if failed else "" if answered >= CROWD else f"only {answered:,} answers",
        "p99_seconds": float(number) * UNITS[unit],
    }


def deep_pages(address: str, secret: str, order: str) -> dict[str, float]:
    """Milliseconds of the first page and of page 10,000, by one client in turns: medians."""
    client = requests.Session()
    client.trust_env = False
    client.headers["Authorization"] = f"Bearer {secret}"
    first = f"{address}/api/v1/products/?page_size={PAGE}&ordering={order}"
    deep = first.replace(f"page_size={PAGE}", "page_size=1000") + "&fields=sku"
    for _ in range(DEEP * PAGE // 1000 - 1):
        deep = client.get(deep, timeout=30).json()["next"]
    deep = deep.replace("page_size=1000", f"page_size={PAGE}").replace("&fields=sku", "").replace("fields=sku&", "")
    for _ in range(1000 // PAGE - 1):
        deep = client.get(deep, timeout=30).json()["next"]
    if (last := client.get(deep, timeout=30).json()["results"][-1]["sku"]) != f"SKU-{DEEP * PAGE:07}":
        raise BenchmarkError(f"page {DEEP:,} ends with {last}")
    times: dict[str, list[float]] = {first: [], deep: []}
    for _ in range(LOOKS):
        for url, each in times.items():
            started = time.perf_counter()
            client.get(url, timeout=30)
            each.append(1000 * (time.perf_counter() - started))
    return {"first_ms": statistics.median(times[first]), "deep_ms": statistics.median(times[deep])}


def wrk(url: str, secret: str, connections: int, seconds: int) -> str:
    """What wrk says of so many connections that ask for one thing again and again."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if least < connections + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most) if most > 0 else 4096, most))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    return subprocess.run(
        [*command, "-H", f"Authorization: Bearer {secret}", url], capture_output=True, text=True, check=True
    ).stdout


def _group(pattern: re.Pattern[str], said: str) -> str:
    return str((pattern.search(said) or _missing(said)).group(1))


def _missing(said: str) -> re.Match[str]:
    raise BenchmarkError(f"wrk said something else than expected: {said[-300:]}")


def main() -> None:
    peers_python = Path(os.environ.get("PEERS_PYTHON", PROJECT / "benchmarks" / ".venv" / "bin" / "python"))
    with fresh_place() as place:
        from report import reads
        from service import Service

        secret = str(Service(place).session.headers["Authorization"]).removeprefix("Bearer ")
        try:
            print(reads({"other": {"reads": measure(place, secret, peers_python)}}))
        except BenchmarkError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
