"""What telling others of half a million changes costs: the import, and those who fetch or are pushed them.

    .venv/bin/python benchmarks/changes.py [--rows 500000] [--repeats 3]

Imports that change every product, alternating: without what serves the feed and with nobody who wants to know (as if
there were neither), and with both and an endpoint for every event. Then the feed, page by page through the view, and
whole; and the batches of one import for one endpoint.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import database
import files
from place import Place, fresh_place
from stages import Clock, time_whole

INDEX = "CREATE INDEX change_by_transaction ON products_productchange (transaction_id, id) WHERE import_id IS NULL"
PAGE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with fresh_place() as place:
        imports(place, options.rows, options.repeats)
        feed(options.rows)
        batches()


def imports(place: Place, rows: int, repeats: int) -> None:
    clock = Clock(place.supervisor.children["postgres"].process.pid)
    path = files.make("shuffled", rows, place.home / "products.csv")
    changed = files.make("shuffled-changed", rows, place.home / "changed.csv")
    turns = ["silent", "told"]
    with database.connect(place.places.database_url) as connection:
        for _ in range(repeats):
            for turn in turns:
                database.empty_catalogue(connection)
                prepare(connection, told=turn == "told")
                for file, what in ((path, "first"), (changed, "all changed")):
                    database.settle(connection)
                    time_whole(clock(f"{what}, {turn}"), Path(file))
            turns.reverse()
    for what in ("first", "all changed"):
        silent, told = (
            [(spent.wall, spent.client + spent.database) for spent in clock.measured[f"{what}, {turn}"]]
            for turn in ("silent", "told")
        )
        for kind, one, other in zip(
            ("wall", "processor"), zip(*silent, strict=True), zip(*told, strict=True), strict=True
        ):
            print(
                f"{what}, {kind}: {median(one):.2f} s silent, {median(other):.2f} s told, "
                f"x {median(other) / median(one):.3f}; the quickest x {min(other) / min(one):.3f}"
            )


def prepare(connection: database.psycopg.Connection, *, told: bool) -> None:
    from webhooks.event_types import EVENT_TYPES
    from webhooks.models import WebhookEndpoint

    connection.execute("DROP INDEX IF EXISTS change_by_transaction")
    connection.execute("TRUNCATE products_changepush, webhooks_event, webhooks_delivery")
    WebhookEndpoint.objects.all().delete()
    if told:
        connection.execute(INDEX)
        WebhookEndpoint.objects.create(url="https://shop.example/", event_types=list(EVENT_TYPES))


def feed(rows: int) -> None:
    from rest_framework.test import APIClient

    from accounts.models import ApiToken, User
    from products.models import Import

    _, token = ApiToken.issue(User.objects.create_user("bench"), name="bench", scopes=["read"])
    client = APIClient(headers={"authorization": f"Bearer {token}", "host": "127.0.0.1"})
    client.get("/api/v1/changes/?page_size=1")
    gc.collect()
    gc.freeze()  # as the web process does
    import_id = Import.objects.filter(changes_until__isnull=False).latest("id").pk
    for what, query in (("of an import", f"import={import_id}&"), ("of the catalogue", "")):
        times, items = [], 0
        url: str | None = f"/api/v1/changes/?{query}page_size={PAGE}"
        while url:
            started = time.perf_counter()
            page = client.get(url).json()
            times.append(time.perf_counter() - started)
            items += len(page["results"])
            url = page["next"] if page["results"] else None
        times.sort()
        p95 = times[len(times) * 95 // 100]
        print(f"{what}: {items:,} in {len(times)} pages, p95 {p95 * 1000:.1f} ms, all {sum(times):.1f} s")
        started = time.perf_counter()
        answer: Any = client.get(f"/api/v1/changes/?{query}", headers={"accept": "application/x-ndjson"})
        size, last = 0, b""
        for piece in answer.streaming_content:
            size += len(piece)
            last = piece
        assert json.loads(last.splitlines()[-1])["end"]
        print(f"    whole, as lines: {time.perf_counter() - started:.1f} s, {size / 1e6:.0f} MB")
    assert items >= rows


def batches() -> None:
    from products import pushing
    from webhooks.models import Delivery, Event, WebhookEndpoint

    endpoint = WebhookEndpoint.objects.get()
    started, made = time.perf_counter(), 0
    while True:
        before = Event.objects.filter(event_type="products.changed").count()
        pushing.push_all()
        new = Event.objects.filter(event_type="products.changed").count() - before
        if not new:
            break
        made += new
        Delivery.objects.filter(endpoint_id=endpoint.pk).update(state="delivered")
    seconds = time.perf_counter() - started
    print(f"batches: {made:,} in {seconds:.1f} s, {made / seconds:.0f} a second")


if __name__ == "__main__":
    main()
