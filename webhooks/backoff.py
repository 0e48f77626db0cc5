"""When a delivery that failed is tried again. Pure: the clock and chance are given."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

STANDARD_DELAYS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before the second to the tenth attempt, as Standard Webhooks advises: 75 h 35 min in all."""
JITTER = 0.2
"""A delay is this share longer or shorter, so that what failed together does not come back together."""
LONGEST_WISH = 24 * 3600.0
"""Seconds; a receiver that asks for a longer pause gets this one."""


def delay_after(
    attempts: int, delays: Sequence[int] | None, wish: float | None = None, chance: random.Random | None = None
) -> float | None:
    """Seconds from the end of the last of so many attempts to the next; None if that was the last.

    `delays` are the endpoint's own; `wish` is what the receiver asked for, in seconds: the longer pause counts.
    """
    steps = STANDARD_DELAYS if delays is None else delays
    if attempts > len(steps):
        return None
    spread = (chance or random).uniform(1 - JITTER, 1 + JITTER)
    return max(steps[attempts - 1] * spread, min(wish or 0.0, LONGEST_WISH))


def wish_of(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` asks for: a number of them, or a date (RFC 9110, section 10.2.3). None if it says
    nothing that can be understood."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the second for a year or a zone beyond what C can count
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
