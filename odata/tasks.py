"""Tasks of the service itself."""

from __future__ import annotations

from celery import shared_task

from odata import health


@shared_task
def worker_heartbeat() -> None:
    """Run by beat every 10 s: that it ran shows that beat, the queue and a worker work together."""
    health.record_heartbeat()
