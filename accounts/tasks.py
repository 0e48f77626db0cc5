"""What the workers run for accounts."""

from __future__ import annotations

import logging

from celery import shared_task

from accounts import idempotency

logger = logging.getLogger(__name__)


@shared_task(ignore_result=False)
def remove_expired_replies() -> dict[str, int]:
    """Remove stored answers that no `Idempotency-Key` is good for any more."""
    removed = idempotency.remove_expired()
    if removed:
        logger.info("idempotent_replies_removed", extra={"count": removed})
    return {"replies": removed}
