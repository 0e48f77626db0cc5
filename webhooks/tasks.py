"""What the workers run for webhooks, and how they are told that there is work."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError as QueueError

from webhooks import dispatcher, partitions, statistics

logger = logging.getLogger(__name__)

NUDGE_SECONDS = 0.2
"""Least time between two nudges of one process. A dispatcher that has had work looks for more for longer than that,
so what comes in between is found."""
NUDGE_EXPIRES = 5
"""Seconds. Later, the tick has rung."""

_last_nudge = 0.0
_nudging = threading.Lock()


def nudge(**kwargs: Any) -> None:
    """Ring for a dispatcher. That nobody hears is no error: the next tick of beat is at most seconds away."""
    global _last_nudge
    with _nudging:
        now = time.monotonic()
        if now - _last_nudge < NUDGE_SECONDS:
            return
        _last_nudge = now
    try:
        deliver.apply_async(retry=False, expires=NUDGE_EXPIRES)
    except (QueueError, OSError) as error:
        logger.warning("webhook_nudge_not_sent: %s", error)


@shared_task
def deliver() -> None:
    """Deliver what is due. Finds nothing to do where others are at it."""
    dispatcher.run()


@shared_task(ignore_result=False)
def keep_days() -> dict[str, int]:
    """Make the days that come, drop those that are over."""
    partitions.make_ahead()
    dropped = partitions.drop_expired()
    statistics.drop_expired()
    return {"partitions": dropped}
