"""How an endpoint is doing, over days."""

from __future__ import annotations

import pytest

from webhooks import outcomes
from webhooks.health import Health

NOW = 1_700_000_000.0
DAY = 24 * 3600.0


def note(health: Health, outcome: str, at: float, *, first: bool = True, most: float | None = None) -> None:
    health.note(outcome, at, milliseconds=30, first=first, most=most)


def failing(messages: int, *, since: float = NOW) -> Health:
    health = Health()
    for number in range(messages):
        note(health, "http_5xx", since + number)
    return health


def test_an_endpoint_is_warned_of_after_a_day_without_success() -> None:
    health = failing(3)

    assert not health.is_to_be_warned_of(NOW + DAY - 1)
    assert health.is_to_be_warned_of(NOW + DAY)
    health.warned_at = NOW + DAY
    assert not health.is_to_be_warned_of(NOW + DAY + 1)


def test_an_endpoint_is_turned_off_after_five_days_without_success() -> None:
    health = failing(20)

    assert not health.is_to_be_disabled(NOW + 5 * DAY - 1)
    assert health.is_to_be_disabled(NOW + 5 * DAY)


def test_few_messages_turn_nothing_off_however_often_they_are_tried() -> None:
    health = failing(19)
    for number in range(200):
        note(health, "timeout", NOW + number, first=False)

    assert not health.is_to_be_disabled(NOW + 20 * DAY)


def test_one_success_and_all_is_forgotten() -> None:
    health = failing(50)
    health.warned_at = NOW + DAY
    note(health, outcomes.SUCCESS, NOW + 4 * DAY)
    note(health, "http_5xx", NOW + 4.5 * DAY)

    assert not health.is_to_be_disabled(NOW + 6 * DAY)
    assert (health.failing_since, health.failed_messages, health.warned_at) == (NOW + 4.5 * DAY, 1, None)
    assert health.last_success_at == NOW + 4 * DAY


def test_an_adaptive_rate_is_halved_once_for_what_was_on_its_way_together() -> None:
    health = Health()
    for number in range(10):
        note(health, outcomes.TOO_MANY, NOW + number / 100, most=50)
    assert health.rate == 25

    note(health, outcomes.TOO_MANY, NOW + 2, most=50)
    assert health.rate == 12.5


def test_an_adaptive_rate_grows_by_one_a_second_until_it_is_whole_again() -> None:
    health = Health()
    note(health, outcomes.TOO_MANY, NOW, most=50)
    for number in range(25):
        note(health, outcomes.SUCCESS, NOW + 1 + number / 25, most=50)
    assert health.rate == pytest.approx(26, abs=0.05)

    for number in range(25 * 50):
        note(health, outcomes.SUCCESS, NOW + 2 + number, most=50)
    assert health.rate is None


def test_an_adaptive_rate_never_falls_below_one_a_second() -> None:
    health = Health()
    for number in range(20):
        note(health, outcomes.TOO_MANY, NOW + 2 * number, most=50)

    assert health.rate == 1
    assert health.breaker.open_until is None, "it works, so the breaker stays out of it"


def test_429_counts_against_an_endpoint_that_does_not_adapt() -> None:
    health = Health()
    for number in range(20):
        note(health, outcomes.TOO_MANY, NOW + number / 10)

    assert health.breaker.is_open(NOW + 2)


def test_attempts_are_counted_by_outcome_and_by_time() -> None:
    health = Health()
    for outcome, milliseconds in (("success", 5), ("success", 6), ("timeout", 15_000), ("timeout", 99_999)):
        health.note(outcome, NOW, milliseconds=milliseconds, first=True, most=None)

    assert health.totals == {"success": 2, "timeout": 2}
    assert (health.latencies[0], health.latencies[1], health.latencies[-1]) == (1, 1, 1)
    assert (sum(health.latencies), health.latency_ms) == (4, 115_010)


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, "", "success"),
        (204, "", "success"),
        (302, "", "http_3xx"),
        (404, "", "http_4xx"),
        (429, "", "http_429"),
        (503, "", "http_5xx"),
        (None, "timeout", "timeout"),
    ],
)
def test_an_outcome_is_a_class_of_answers_or_of_errors(status: int | None, error: str, outcome: str) -> None:
    assert outcomes.outcome_of(status, error) == outcome


def test_a_quantile_is_found_within_its_bucket() -> None:
    latencies = outcomes.no_latencies()
    assert outcomes.quantile(latencies, 0.95) is None

    latencies[outcomes.bucket_of(8)] = 90
    latencies[outcomes.bucket_of(400)] = 10

    assert 5 < (outcomes.quantile(latencies, 0.5) or 0) <= 10
    assert 250 < (outcomes.quantile(latencies, 0.95) or 0) <= 500
