"""The rate of an endpoint that adapts: a bit more with each success, half where the receiver says 429. Pure."""

from __future__ import annotations

LEAST = 1.0
PAUSE_SECONDS = 1.0
"""What was on its way when the rate was halved says 429 too: that halves it no further."""


def raised(rate: float, most: float) -> float:
    """After a success: one request a second more for each second that goes well."""
    return min(most, rate + 1 / rate)


def halved(rate: float) -> float:
    return max(LEAST, rate / 2)
