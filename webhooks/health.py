"""How an endpoint is doing, as attempt after attempt comes to its end. Pure: times are given, in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webhooks import outcomes, rates
from webhooks.breaker import Breaker

WARN_AFTER = 24 * 3600.0
DISABLE_AFTER = 5 * 24 * 3600.0
LEAST_MESSAGES = 20
"""So many different messages must have failed before an endpoint is turned off, however long that takes: one
message in five days says little."""


@dataclass
class Health:
    """The part of `EndpointState` that results write."""

    breaker: Breaker = field(default_factory=Breaker)
    rate: float | None = None
    rate_cut_at: float | None = None
    failing_since: float | None = None
    failed_messages: int = 0
    warned_at: float | None = None
    last_success_at: float | None = None
    totals: dict[str, int] = field(default_factory=dict)
    latencies: list[int] = field(default_factory=outcomes.no_latencies)
    latency_ms: int = 0

    def note(self, outcome: str, now: float, *, milliseconds: int, first: bool, most: float | None) -> None:
        """One more attempt. `first` says whether it was the first of its message, `most` is the rate that an
        adaptive endpoint may rise to, None for one that does not adapt."""
        self._count(outcome, milliseconds)
        if outcome == outcomes.SUCCESS:
            self._succeeded(now, most)
        else:
            self._failed(outcome, now, first, most)

    def _count(self, outcome: str, milliseconds: int) -> None:
        self.totals[outcome] = self.totals.get(outcome, 0) + 1
        self.latencies[outcomes.bucket_of(milliseconds)] += 1
        self.latency_ms += milliseconds

    def _succeeded(self, now: float, most: float | None) -> None:
        self.breaker.succeeded(now)
        self.last_success_at, self.failing_since, self.failed_messages, self.warned_at = now, None, 0, None
        if most is not None and self.rate is not None:
            self.rate = rates.raised(self.rate, most)
            self.rate = None if self.rate >= most else self.rate

    def _failed(self, outcome: str, now: float, first: bool, most: float | None) -> None:
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.failed_messages += first
        if outcome == outcomes.TOO_MANY and most is not None:
            # Its rate answers for that. It works, so the breaker stays out of it.
            if self.rate_cut_at is None or now - self.rate_cut_at >= rates.PAUSE_SECONDS:
                self.rate, self.rate_cut_at = rates.halved(self.rate or most), now
        else:
            self.breaker.failed(now, timed_out=outcome == "timeout")

    def is_to_be_warned_of(self, now: float) -> bool:
        return self.failing_since is not None and now - self.failing_since >= WARN_AFTER and self.warned_at is None

    def is_to_be_disabled(self, now: float) -> bool:
        return (
            self.failing_since is not None
            and now - self.failing_since >= DISABLE_AFTER
            and self.failed_messages >= LEAST_MESSAGES
        )

    @classmethod
    def of(cls, row: dict[str, Any]) -> Health:
        """As `lock_states.sql` reads it."""
        own = {name: row[name] for name in OWN}
        own["latencies"] = own["latencies"] or outcomes.no_latencies()
        return cls(Breaker(**{name: row[name] for name in BREAKERS}), **own)

    def row(self) -> dict[str, Any]:
        """As `save_states.sql` writes it."""
        return {name: getattr(self, name) for name in OWN} | {name: getattr(self.breaker, name) for name in BREAKERS}


BREAKERS = ("open_until", "openings", "timeouts_in_row", "recent")
OWN = (
    "rate",
    "rate_cut_at",
    "failing_since",
    "failed_messages",
    "warned_at",
    "last_success_at",
    "totals",
    "latencies",
    "latency_ms",
)
