"""docs/operations.md: what it tells operators to run, run."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.db import connection, transaction

from accounts.models import User
from common.errors import ConflictError
from odata.metrics import ServiceCollector
from products import catalogue
from products.models import Product

PAGE = (settings.BASE_DIR / "docs" / "operations.md").read_text(encoding="utf-8")


class RolledBackError(Exception):
    """Ends what is tried out."""


@pytest.mark.django_db
def test_a_catalogue_that_was_cut_into_parts_is_one_catalogue() -> None:
    statements = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert len(statements) == 1
    user = User.objects.create_user("ada")
    catalogue.create_product({"sku": "Old-1", "name": "Lamp"}, actor=user)

    with pytest.raises(RolledBackError), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(statements[0])
        for number in range(40):
            catalogue.create_product({"sku": f"New-{number}", "name": "Chair"}, actor=user)
        with pytest.raises(ConflictError), transaction.atomic():
            catalogue.create_product({"sku": "OLD-1", "name": "Twin"}, actor=user)
        assert Product.objects.count() == 41
        assert list(Product.objects.order_by("id").values_list("sku", flat=True)[:2]) == ["Old-1", "New-0"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(DISTINCT tableoid) FROM products_product")
            assert cursor.fetchone()[0] > 8
        raise RolledBackError
    assert Product.objects.get().sku == "Old-1"


@pytest.mark.django_db
def test_every_figure_for_prometheus_is_explained() -> None:
    names = {family.name for family in ServiceCollector().collect()}

    assert {"odata_queue_age_seconds", "odata_webhook_attempts"} <= names
    assert [name for name in sorted(names) if not re.search(rf"`{name}(_total)?[`{{]", PAGE)] == []
