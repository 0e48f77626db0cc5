"""The breaker of an endpoint."""

from __future__ import annotations

from webhooks.breaker import Breaker

NOW = 1_700_000_000.0


def opened(breaker: Breaker, at: float = NOW) -> Breaker:
    for _ in range(5):
        breaker.failed(at, timed_out=True)
    assert breaker.is_open(at)
    return breaker


def test_it_opens_where_half_of_twenty_fail_within_a_minute() -> None:
    breaker = Breaker()
    for number in range(19):
        (breaker.failed if number % 2 else breaker.succeeded)(NOW + number)

    assert not breaker.is_open(NOW + 19)
    breaker.failed(NOW + 19)
    assert breaker.is_open(NOW + 19)


def test_it_stays_closed_where_fewer_than_half_fail() -> None:
    breaker = Breaker()
    for number in range(200):
        (breaker.succeeded if number % 5 < 3 else breaker.failed)(NOW + number / 10)

    assert breaker.open_until is None


def test_what_is_older_than_a_minute_does_not_count() -> None:
    breaker = Breaker()
    for number in range(19):
        breaker.failed(NOW + number / 10)
    breaker.failed(NOW + 65)

    assert breaker.open_until is None


def test_it_opens_after_five_timeouts_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.failed(NOW, timed_out=True)
    breaker.failed(NOW)  # an answer, if a bad one
    for _ in range(4):
        breaker.failed(NOW, timed_out=True)
    assert breaker.open_until is None

    breaker.failed(NOW, timed_out=True)

    assert breaker.open_until == NOW + 30


def test_each_probe_that_fails_doubles_the_pause_up_to_a_quarter_of_an_hour() -> None:
    breaker, now, pauses = opened(Breaker()), NOW, []
    for _ in range(8):
        pauses.append((breaker.open_until or 0) - now)
        now = breaker.open_until or 0
        breaker.failed(now)

    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_probe_that_succeeds_closes_it_and_begins_anew() -> None:
    breaker = opened(Breaker())
    breaker.failed(NOW + 30)
    breaker.succeeded(NOW + 90)

    assert breaker.open_until is None
    assert opened(breaker, NOW + 91).open_until == NOW + 91 + 30


def test_what_was_on_its_way_before_changes_nothing() -> None:
    breaker = opened(Breaker())
    for second in range(25):
        breaker.failed(NOW + second, timed_out=True)
        breaker.succeeded(NOW + second)

    assert (breaker.open_until, breaker.openings) == (NOW + 30, 1)
