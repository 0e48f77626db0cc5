"""How many requests a second one web process answers: a page of 50 products, and one product.

    .venv/bin/python benchmarks/reads.py        this alone, some 2 minutes

The peer is FastAPI with SQLModel, asyncpg and uvicorn, one worker (peers/fastapi_reads.py): on the same database, with
the same token. Both are asked in turns by wrk.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import requests
from database import connect
from place import PROJECT, Place, free_port, fresh_place
from service import BenchmarkError

from odata.embedded.supervisor import Program

CONNECTIONS, SECONDS, REPEATS, PRODUCTS = 50, 5, 3, 10_000
TARGETS = {"list of 50": "/api/v1/products/", "detail": "/api/v1/products/SKU-0005000/"}
FILL = """
INSERT INTO products_product (sku, name, description, status, attributes)
SELECT 'SKU-' || lpad(n::text, 7, '0'), 'Product number ' || n, 'A description of product ' || n || ', in some words',
       'active', jsonb_build_object('colour', 'red', 'weight', n, 'sizes', jsonb_build_array('S', 'M'))
  FROM generate_series(1, %s) n ON CONFLICT DO NOTHING
"""
WRK = re.compile(r"Requests/sec:\s+([\d.]+)")
FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.+)")


def measure(place: Place, ours: str, secret: str, peers_python: Path) -> dict[str, dict[str, float]]:
    """Requests a second: medians by target, ours and the peer's. Raises BenchmarkError."""
    if shutil.which("wrk") is None:
        raise BenchmarkError("wrk is not there: `apt-get install wrk` (or brew, dnf) installs it")
    with connect(place.places.database_url) as connection:
        connection.execute(FILL, [PRODUCTS])
        connection.execute("VACUUM (ANALYZE) products_product")
    peer = start_peer(place, peers_python)
    addresses = {"ours": ours, "peer": peer}
    for target in TARGETS.values():
        same_answers([address + target for address in addresses.values()], secret)
    found: dict[str, dict[str, list[float]]] = {target: defaultdict(list) for target in TARGETS}
    for _ in range(REPEATS):
        for target, path in TARGETS.items():
            for who, address in addresses.items():
                found[target][who].append(requests_per_second(address + path, secret))
    place.supervisor.stop("peer")
    return {target: {who: statistics.median(rates) for who, rates in each.items()} for target, each in found.items()}


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
    """Both show the same products in the same fields, and nobody without a token any. Raises BenchmarkError."""
    shown: list[Any] = []
    for url in urls:
        refused = requests.get(url, timeout=30).status_code
        answer = requests.get(url, headers={"Authorization": f"Bearer {secret}"}, timeout=30)
        if refused != 401 or not answer.ok:
            raise BenchmarkError(f"{url} answered {refused} without a token, {answer.status_code} with one")
        body = answer.json()
        shown.append(body.get("results", body))
    if shown[0] != shown[1]:
        raise BenchmarkError(f"{urls[0]} and {urls[1]} do not show the same")


def requests_per_second(url: str, secret: str) -> float:
    """As wrk counts them. Raises BenchmarkError if any was refused or lost."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "10s"]
    done = subprocess.run(
        [*command, "-H", f"Authorization: Bearer {secret}", url], capture_output=True, text=True, check=True
    )
    if failed := FAILED.search(done.stdout):
        raise BenchmarkError(f"{url}: {failed.group()}")
    rate = WRK.search(done.stdout)
    if rate is None:
        raise BenchmarkError(f"wrk said no rate of {url}: {done.stdout[-300:]}")
    return float(rate.group(1))


def main() -> None:
    peers_python = Path(os.environ.get("PEERS_PYTHON", PROJECT / "benchmarks" / ".venv" / "bin" / "python"))
    with fresh_place() as place:
        from service import Service

        service = Service(place)
        service.start_web_alone()
        secret = str(service.session.headers["Authorization"]).removeprefix("Bearer ")
        try:
            for target, rates in measure(place, service.address, secret, peers_python).items():
                ratio = rates["ours"] / rates["peer"]
                print(f"{target}: {rates['ours']:,.0f} a second, the peer {rates['peer']:,.0f}: {ratio:.2f} x")
        except BenchmarkError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
