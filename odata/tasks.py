"""Tasks of the service itself."""

from __future__ import annotations

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


@shared_task
def remove_what_is_old() -> None:
    """Run by beat every night: remove by age what the settings give a number of days, and say how much that was."""
    counts: dict[str, int] = {}
    if settings.IMPORT_FILE_DAYS:
        counts["import_files"] = retention.remove_files(settings.IMPORT_FILE_DAYS)
    if settings.IMPORT_DAYS:
        counts["imports"] = retention.remove_imports(settings.IMPORT_DAYS)
    sessions = remove_in_batches(Session.objects.filter(expire_date__lt=Now()))
    if settings.AUDIT_DAYS:
        counts["audit_entries"] = audit.prune(settings.AUDIT_DAYS)
    if counts.get("import_files") or counts.get("imports"):
        audit.record(None, "data.removed", details=counts)
    log.info("old_data_removed", sessions=sessions, **counts)
