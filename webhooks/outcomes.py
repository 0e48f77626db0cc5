"""What attempts come to, in a few words that can be counted, and how long they took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SUCCESS = "success"
TOO_MANY = "http_429"
BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 15_000, 30_000)
"""Upper bounds, of the bucket included. One more bucket has what took longer."""


def outcome_of(status: int | None, error: str) -> str:
    """`success`, `http_3xx`, `http_4xx`, `http_429`, `http_5xx`, or the class of error."""
    if error:
        return error
    if status is None:
        return "unexpected"
    if 200 <= status < 300:
        return SUCCESS
    return TOO_MANY if status == 429 else f"http_{status // 100}xx"


def no_latencies() -> list[int]:
    return [0] * (len(BUCKETS_MS) + 1)


def bucket_of(milliseconds: int) -> int:
    """Which bucket an attempt that took so long is counted in."""
    return bisect_left(BUCKETS_MS, milliseconds)


def quantile(latencies: Sequence[int], share: float) -> int | None:
    """The time in milliseconds that this share of attempts stayed within, by the bounds of buckets with an even
    spread inside of each; None without an attempt."""
    total = sum(latencies)
    if not total:
        return None
    wanted, below = share * total, 0
    bounds = (*BUCKETS_MS, BUCKETS_MS[-1])
    for number, count in enumerate(latencies):
        if count and below + count >= wanted:
            low = bounds[number - 1] if number else 0
            return round(low + (bounds[number] - low) * (wanted - below) / count)
        below += count
    return bounds[-1]
