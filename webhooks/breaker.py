"""The breaker of an endpoint: whether it is worth trying now. Pure: times are given, in seconds.

Closed, all goes. It opens where at least half of at least 20 attempts of the last minute failed, or five in a row
came to no answer in time. Open, its deliveries wait, and no attempt is spent on them. When its time is over it is
half open: one request goes, a probe. That one closes it, or opens it for twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_SECONDS = 60
SLICE_SECONDS = 5
LEAST_ATTEMPTS = 20
TIMEOUTS_IN_ROW = 5
FIRST_PAUSE = 30.0
LONGEST_PAUSE = 900.0


@dataclass
class Breaker:
    open_until: float | None = None
    openings: int = 0
    timeouts_in_row: int = 0
    recent: list[list[int]] = field(default_factory=list)
    """`[slice, attempts, failures]` of the last minute, the oldest first."""

    def is_open(self, now: float) -> bool:
        return self.open_until is not None and now < self.open_until

    def succeeded(self, now: float) -> None:
        if self.is_open(now):
            return  # it was on its way before
        if self.open_until is not None:
            self.open_until, self.openings, self.recent = None, 0, []
        self.timeouts_in_row = 0
        self._count(now, failures=0)

    def failed(self, now: float, *, timed_out: bool = False) -> None:
        if self.is_open(now):
            return
        self.timeouts_in_row = self.timeouts_in_row + 1 if timed_out else 0
        self._count(now, failures=1)
        if self.open_until is not None or self.timeouts_in_row >= TIMEOUTS_IN_ROW or self._fails_too_often():
            self._open(now)

    def _open(self, now: float) -> None:
        self.open_until = now + min(FIRST_PAUSE * 2**self.openings, LONGEST_PAUSE)
        self.openings = min(self.openings + 1, 30)
        self.timeouts_in_row, self.recent = 0, []

    def _count(self, now: float, *, failures: int) -> None:
        current = int(now // SLICE_SECONDS)
        self.recent = [each for each in self.recent if each[0] > current - WINDOW_SECONDS // SLICE_SECONDS]
        if not self.recent or self.recent[-1][0] != current:
            self.recent.append([current, 0, 0])
        self.recent[-1][1] += 1
        self.recent[-1][2] += failures

    def _fails_too_often(self) -> bool:
        attempts, failures = sum(each[1] for each in self.recent), sum(each[2] for each in self.recent)
        return attempts >= LEAST_ATTEMPTS and 2 * failures >= attempts
