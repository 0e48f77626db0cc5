"""Tasks of the service itself."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from celery import shared_task
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from accounts import audit
from common.batches import remove_in_batches
from odata import health
from products.importing import retention

log = structlog.get_logger(__name__)


@shared_task
def worker_heartbeat() -> None:
    """Run by beat every 10 s: that it ran shows that beat, the queue and a worker work together."""
    health.record_heartbeat()


@shared_task(ignore_result=False)
def remove_what_is_old() -> dict[str, int]:
    """Run by beat every night: remove by age what the settings give a number of days, and say how much that was. What
    can't be removed tonight, such as files while a bucket is away, keeps nothing else. The first error ends it."""
    steps: dict[str, Callable[[], int]] = {
        "sessions": lambda: remove_in_batches(Session.objects.filter(expire_date__lt=Now())),
    }
    if settings.IMPORT_FILE_DAYS:
        steps["import_files"] = lambda: retention.remove_files(settings.IMPORT_FILE_DAYS)
    if settings.IMPORT_DAYS:
        steps["imports"] = lambda: retention.remove_imports(settings.IMPORT_DAYS)
    if settings.AUDIT_DAYS:
        steps["audit_entries"] = lambda: audit.prune(settings.AUDIT_DAYS)
    counts, errors = _each(steps)
    data: dict[str, int] = {name: counts[name] for name in ("import_files", "imports") if name in counts}
    if any(data.values()):
        audit.record(None, "data.removed", details=data)
    log.info("old_data_removed", **counts)
    if errors:
        raise errors[0]
    return counts


def _each(steps: dict[str, Callable[[], int]]) -> tuple[dict[str, int], list[Exception]]:
    """What the steps returned, and what those raised that failed."""
    counts: dict[str, int] = {}
    errors: list[Exception] = []
    for name, step in steps.items():
        try:
            counts[name] = step()
        except Exception as error:
            log.exception("old_data_kept", what=name)
            errors.append(error)
    return counts, errors
