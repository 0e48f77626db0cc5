"""When a delivery is tried again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.backoff import STANDARD_DELAYS, delay_after, wish_of

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NEAR = 1.0000001
"""Floating point may miss a bound by its last digit."""


def test_the_steps_are_those_of_standard_webhooks() -> None:
    steps = [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)]
    steps += [timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)]

    assert [timedelta(seconds=delay) for delay in STANDARD_DELAYS] == steps
    assert sum(steps, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


@given(attempts=st.integers(1, 9), chance=st.randoms())
def test_a_step_is_at_most_a_fifth_longer_or_shorter(attempts: int, chance: random.Random) -> None:
    step = STANDARD_DELAYS[attempts - 1]

    assert 0.8 * step / NEAR <= (delay_after(attempts, None, chance=chance) or 0) <= 1.2 * step * NEAR


def test_what_fails_together_does_not_come_back_together() -> None:
    delays = [delay_after(3, None) or 0 for _ in range(500)]

    assert max(delays) - min(delays) > 0.3 * STANDARD_DELAYS[2]


def test_the_tenth_attempt_is_the_last() -> None:
    assert delay_after(9, None) is not None
    assert delay_after(10, None) is None


def test_an_endpoint_may_have_steps_of_its_own() -> None:
    assert 8 <= (delay_after(2, [1, 10]) or 0) <= 12
    assert delay_after(3, [1, 10]) is None
    assert delay_after(1, []) is None


@given(wish=st.floats(0, 1e7))
def test_the_receivers_wish_counts_where_it_is_longer_and_no_more_than_a_day(wish: float) -> None:
    delay = delay_after(2, None, wish) or 0

    assert delay >= min(wish, 24 * 3600)
    assert delay <= max(1.2 * 300 * NEAR, min(wish, 24 * 3600))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(minutes=10), usegmt=True), 600.0),
        ("Sun Mar  1 12:10:00 2026", 600.0),  # asctime, which RFC 9110 has receivers accept
        ("Sunday, 01-Mar-26 12:10:00 GMT", 600.0),
        (format_datetime(NOW - timedelta(minutes=10), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        (f"Sun, 01 Mar {10**30} 12:10:00 GMT", None),
        (f"Sun, {10**30} Mar 2026 12:10:00 GMT", None),
        (f"Sun, 01 Mar 2026 12:10:00 +{10**30}", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert wish_of(header, NOW) == seconds


@given(st.text())
def test_no_header_breaks_it(header: str) -> None:
    assert (wish_of(header, NOW) or 0.0) >= 0.0
