"""One change of many products, however many: watched, cancelled and undone as an import is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.db.models.functions import Now

from accounts import audit
from common.errors import InvalidInputError
from common.ids import uuid7
from products import catalogue
from products.importing.merger import finish
from products.importing.reporter import Reporter
from products.importing.settler import take_catalogue
from products.models import Import, Product
from products.pushing import last_change
from products.selection import Selection

if TYPE_CHECKING:
    from accounts.models import User

ACTIONS = {"activate": "Activate", "deactivate": "Deactivate", "delete": "Delete"}


def request_change(action: str, selection: Selection, *, user: User | None) -> Import:
    """Have all products of a selection changed; the answer is the change, an import that waits for a worker.

    Raises InvalidInputError for an action that there is not.
    """
    if action not in ACTIONS:
        raise InvalidInputError(
            f"There is no action {action!r}. There are: {', '.join(ACTIONS)}.", code="unknown_action"
        )
    with transaction.atomic():
        change = Import.objects.create(
            id=uuid7(),
            kind=Import.Kind.BULK,
            bulk={"action": action, "selection": selection.as_dict()},
            file_name=f"{ACTIONS[action]} products",
            bytes_total=0,
            created_by=user,
            dispatched_at=Now(),
        )
        audit.record(user, "import.started", change, {"action": action})
    return change


def change(import_: Import, reporter: Reporter) -> None:
    """Do the change `import_`. Raises what `Reporter.checkpoint` and `merger.finish` raise; then nothing is done."""
    products = Selection.of(import_.bulk["selection"]).products()
    reporter.details = {"header": ["sku"]}
    with transaction.atomic():
        take_catalogue(reporter)
        before = last_change()
        reporter.expect(products.count())
        highest = products.aggregate(highest=Max("id"))["highest"] or 0
        low = 0
        while low < highest:
            reporter.checkpoint()
            ids = list(
                products.filter(id__gt=low).order_by("id").values_list("id", flat=True)[: settings.IMPORT_BATCH_SIZE]
            )
            if not ids:
                break
            _change_some(import_, Product.objects.filter(id__gt=low, id__lte=ids[-1]) & products, len(ids), reporter)
            low = ids[-1]
        finish(import_, changes_after=before, **reporter.details, **reporter.final_counts())


def _change_some(import_: Import, products: QuerySet[Product], rows: int, reporter: Reporter) -> None:
    action = import_.bulk["action"]
    if action == "delete":
        deleted = catalogue.delete_products(products, actor=import_.created_by, import_=import_)
        reporter.changed(deleted, deleted=deleted)
        return
    status = Product.Status.ACTIVE if action == "activate" else Product.Status.INACTIVE
    changed = catalogue.set_status(products, status, actor=import_.created_by, import_=import_)
    reporter.changed(rows, updated=changed, unchanged=rows - changed)
