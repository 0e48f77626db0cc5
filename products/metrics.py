"""The figures of catalogue and imports for `/metrics`: none reads more than the unfinished imports and a day's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import connection
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric

from common.ids import first_uuid7
from products.models import Import

UNFINISHED = """
    SELECT state, phase, count(*),
        max(extract(epoch FROM now() - coalesce(apply_requested_at, created_at)))
            FILTER (WHERE state = 'PENDING' AND phase <> 'checked'),
        coalesce(sum(rows_read / greatest(extract(epoch FROM now() - started_at), 1))
            FILTER (WHERE state = 'PROGRESS'), 0)
    FROM products_import
    WHERE state IN ('PENDING', 'PROGRESS')
    GROUP BY state, phase
"""
"""Answered from the index `import_unfinished`: state, phase, how many, the oldest that waits, rows a second."""
ENDED = "SELECT state, count(*), sum(rows_read) FROM products_import WHERE id >= %s GROUP BY state"
PRODUCTS = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'products_product'::regclass"


def collect() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(UNFINISHED)
        unfinished = cursor.fetchall()
        cursor.execute(ENDED, [first_uuid7(timezone.now() - timedelta(days=1))])
        day = {state: (count, rows or 0) for state, count, rows in cursor.fetchall()}
        cursor.execute(PRODUCTS)
        (products,) = cursor.fetchone()

    now = GaugeMetricFamily("odata_imports", "Imports that have not ended.", labels=["state", "phase"])
    for state, phase, count, _, _ in unfinished:
        now.add_metric([state, phase], count)
    yield now
    ended = GaugeMetricFamily(
        "odata_imports_of_a_day", "Imports that were made in the last 24 hours and have ended.", labels=["state"]
    )
    for end in Import.END_STATES:
        ended.add_metric([end], day.get(end, (0, 0))[0])
    yield ended
    waiting = max((float(age) for *_, age, _ in unfinished if age is not None), default=0)
    yield GaugeMetricFamily("odata_queue_age_seconds", "How long the oldest import waits that could run.", waiting)
    speed = sum(float(rate) for *_, rate in unfinished)
    yield GaugeMetricFamily("odata_import_rows_per_second", "Rows that running imports read a second.", speed)
    rows = sum(float(rows) for _, rows in day.values())
    yield GaugeMetricFamily("odata_import_rows_of_a_day", "Rows read by the imports of the last 24 hours.", rows)
    yield GaugeMetricFamily("odata_products", "Products, as PostgreSQL estimates them.", products)
