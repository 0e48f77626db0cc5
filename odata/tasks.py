"""Tasks of the service itself."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.conf import settings
from django.core.management import call_command

from accounts import audit
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
    call_command("clearsessions")  # those that have expired
    if settings.AUDIT_DAYS:
        counts["audit_entries"] = audit.prune(settings.AUDIT_DAYS)
    if counts.get("import_files") or counts.get("imports"):
        audit.record(None, "data.removed", details=counts)
    log.info("old_data_removed", **counts)
