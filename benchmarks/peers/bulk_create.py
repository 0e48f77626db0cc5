"""Django alone: `bulk_create(update_conflicts=True)`, 1,000 rows at a time, in one transaction."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import peer
import with_django  # noqa: F401 - sets Django up, hence before the rest
from catalogue.models import Product
from django.db import transaction

BATCH = 1000
COLUMNS = ("name", "description", "status", "updated_at")


def load(path: Path) -> int:
    count = 0
    with path.open(encoding="utf-8", newline="") as file, transaction.atomic():
        rows = csv.DictReader(file)
        while batch := [Product(**row) for row in islice(rows, BATCH)]:
            Product.objects.bulk_create(batch, update_conflicts=True, unique_fields=["sku"], update_fields=COLUMNS)
            count += len(batch)
    return count


if __name__ == "__main__":
    peer.run(load)
