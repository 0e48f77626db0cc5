"""How long the pages of the log of webhooks take, with millions of attempts.

    .venv/bin/python benchmarks/webhook_log.py [--attempts 2000000] [--days 30]

Deliveries of ten endpoints and 1.25 attempts each, spread over the days that are kept; then pages of 50 through
the views, under each filter, beginning at random places.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from urllib.parse import urlencode

import database
from place import fresh_place

ENDPOINTS = 10
PAGES = 100

FILL = """
INSERT INTO webhooks_delivery (id, event_id, endpoint_id, event_type, state, attempts, created_at, finished_at)
SELECT id, id, ('00000000-0000-7000-8000-' || lpad((n %% {endpoints})::text, 12, '0'))::uuid,
       CASE WHEN n %% 10 = 0 THEN 'import.completed' ELSE 'product.updated' END,
       CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'delivered' END, 1, made, made
  FROM (
    SELECT n, made, uuidv7(made - clock_timestamp()) AS id
      FROM generate_series(%(first)s, %(last)s) AS n,
           LATERAL (SELECT now() - interval '1 second' * %(seconds)s * n / %(all)s AS made) AS times
  ) AS rows
"""
ATTEMPTS = """
INSERT INTO webhooks_attempt (id, delivery_id, endpoint_id, event_id, number, started_at, url, request_headers, status,
                              reply, total_ms)
SELECT CASE WHEN number = 1 THEN id ELSE uuidv7(created_at - clock_timestamp()) END, id, endpoint_id, event_id, number,
       created_at, 'https://shop.example.com/hooks/catalogue',
       '{"webhook-id": "evt_0190163d86947", "webhook-timestamp": "1764000000", "user-agent": "odata"}',
       CASE WHEN state = 'failed' THEN 503 ELSE 200 END, 'ok', 42
  FROM webhooks_delivery, generate_series(1, 2) AS number
 WHERE number = 1 OR hashtext(id::text) % 4 = 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attempts", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=30)
    options = parser.parse_args()
    with fresh_place() as place, database.connect(place.places.database_url) as connection:
        fill(connection, options.attempts, options.days)
        measure(options.days)


def fill(connection: database.psycopg.Connection, attempts: int, days: int) -> None:
    from webhooks import partitions
    from webhooks.models import WebhookEndpoint

    for table, default in partitions.DAILY.items():
        for day in range(days + 1):
            partitions._make(table, default, partitions.today() - timedelta(days=day))
    for number in range(ENDPOINTS):
        WebhookEndpoint.objects.create(
            id=f"00000000-0000-7000-8000-{number:012}",
            url="https://shop.example.com/hooks/catalogue",
            event_types=["ping"],
        )
    deliveries = attempts * 4 // 5
    started = time.perf_counter()
    parameters = {"first": 1, "last": deliveries, "all": deliveries, "seconds": days * 86400 - 60}
    connection.execute(FILL.format(endpoints=ENDPOINTS), parameters)
    connection.execute(ATTEMPTS)
    connection.execute("ANALYZE webhooks_delivery, webhooks_attempt")
    (count,) = connection.execute("SELECT count(*) FROM webhooks_attempt").fetchone() or (0,)
    print(f"{deliveries:,} deliveries, {count:,} attempts in {time.perf_counter() - started:.0f} s")


def measure(days: int) -> None:
    from rest_framework.test import APIClient

    from accounts.models import ApiToken, User

    user = User.objects.create_superuser("bench")
    _, token = ApiToken.issue(user, name="bench", scopes=["webhooks"])
    client = APIClient(headers={"authorization": f"Bearer {token}", "host": "127.0.0.1"})
    gc.collect()
    gc.freeze()  # as the web process does
    one = f"00000000-0000-7000-8000-{3:012}"
    filters: dict[str, dict[str, str]] = {
        "all": {},
        "one endpoint": {"endpoint": one},
        "failed": {"state": "failed"},
        "failed of one endpoint": {"state": "failed", "endpoint": one},
        "one type": {"event_type": "import.completed"},
        "a type that never was": {"event_type": "product.deleted"},
    }
    for what, query in filters.items():
        report(f"deliveries, {what}", [page(client, "deliveries", query, days) for _ in range(PAGES)])
    for what in ("all", "one endpoint"):
        report(f"attempts, {what}", [page(client, "attempts", filters[what], days) for _ in range(PAGES)])
    newest = client.get("/api/v1/webhooks/deliveries/").json()["results"]
    report("one delivery with its attempts", [timed(client, f"deliveries/{each['id']}/") for each in newest])


def page(client: object, kind: str, query: dict[str, str], days: int) -> float:
    until = datetime.now(UTC) - timedelta(days=days) * random.random()
    return timed(client, f"{kind}/?{urlencode({**query, 'until': until.isoformat()})}")


def timed(client: object, path: str) -> float:
    started = time.perf_counter()
    answer = client.get(f"/api/v1/webhooks/{path}")  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.content
    return time.perf_counter() - started


def report(what: str, times: list[float]) -> None:
    times.sort()
    p95 = times[len(times) * 95 // 100]
    print(f"{what}: median {median(times) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms")


if __name__ == "__main__":
    main()
