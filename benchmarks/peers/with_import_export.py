"""django-import-export: as it comes, in its bulk mode, and in bulk mode with all that its manual advises."""

from __future__ import annotations

import sys
from pathlib import Path

import peer
import with_django  # noqa: F401 - sets Django up, hence before the rest
from catalogue.models import Product
from import_export.instance_loaders import CachedInstanceLoader
from import_export.resources import ModelResource
from tablib import Dataset


class Default(ModelResource):
    class Meta:
        model = Product
        import_id_fields = ("sku",)
        fields = ("sku", "name", "description", "status")


class Bulk(Default):
    class Meta(Default.Meta):
        use_bulk = True
        batch_size = 1000


class Tuned(Default):
    class Meta(Bulk.Meta):
        skip_diff = True
        instance_loader_class = CachedInstanceLoader


MODES = {"default": Default, "bulk": Bulk, "tuned": Tuned}


def load(path: Path) -> int:
    dataset = Dataset().load(path.read_text(encoding="utf-8"), format="csv")
    result = MODES[sys.argv[4]]().import_data(dataset, raise_errors=True)
    return int(result.total_rows)


if __name__ == "__main__":
    peer.run(load)
