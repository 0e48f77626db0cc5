"""What the workers run for webhooks."""

from __future__ import annotations

from celery import shared_task

from webhooks import partitions


@shared_task
def keep_days() -> None:
    """Make the days that come, drop those that are over."""
    partitions.make_ahead()
    partitions.drop_expired()
