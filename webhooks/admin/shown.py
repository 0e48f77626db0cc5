"""How states, shares and times of webhooks are shown."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.moments import moment
from webhooks.models import Attempt, Delivery

__all__ = ["EXPLAINED", "answer", "attempt", "backlog", "milliseconds", "moment", "share", "span", "state", "timings"]

LOOKS = {
    "ok": "SUCCESS",
    "failing": "FAILURE",
    "deferred": "TROUBLE",
    "paused": "CANCELLED",
    "disabled": "FAILURE",
    Delivery.State.PENDING: "PENDING",
    Delivery.State.DELIVERED: "SUCCESS",
    Delivery.State.FAILED: "FAILURE",
    Delivery.State.DISCARDED: "CANCELLED",
}
"""Which of the looks of static/parts.css a state has."""


EXPLAINED = {
    "failing": "Attempts fail. What failed is tried again, after pauses that grow.",
    "deferred": "Most attempts failed of late, so its deliveries wait. One is tried every 30 seconds to 15 minutes; as "
    "soon as it is taken, all others go too.",
    "paused": "It is off, because somebody said so. Its deliveries wait until it is resumed.",
}
"""What a state of an endpoint means. Why one is `disabled` stands in its `disabled_reason`."""


def state(word: str) -> SafeString:
    return format_html('<span class="state {}">{}</span>', LOOKS[word], word.capitalize())


def share(value: float | None) -> str:
    """A share as per cent; never 100 % where something failed."""
    return "–" if value is None else f"{int(value * 1000) / 10:.1f} %"


def milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"


def span(seconds: int | None) -> str:
    """How long, roughly: `40 s`, `12 min`, `3 h`, `2 days`."""
    if seconds is None:
        return ""
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {word}"
    return f"{seconds} s"


def backlog(health: Any) -> str:
    """How many deliveries wait, and how long they take at the endpoint's rate."""
    waiting, takes = health["backlog"], span(health["drain_seconds"])
    return f"{waiting:,}, takes {takes}" if waiting and takes else f"{waiting:,}"


def answer(status: int | None, error: str) -> str:
    """What came back: a status, a class of error, or nothing yet."""
    return " · ".join(part for part in (f"HTTP {status}" if status else "", error) if part) or "–"


def timings(attempt: Attempt) -> list[tuple[str, str]]:
    """How long the steps of an attempt took; those that a kept connection saves are dashes."""
    return [
        ("DNS", milliseconds(attempt.dns_ms)),
        ("Connect", milliseconds(attempt.connect_ms)),
        ("TLS", milliseconds(attempt.tls_ms)),
        ("First byte", milliseconds(attempt.first_byte_ms)),
        ("Total", milliseconds(attempt.total_ms)),
    ]


def attempt(made: Attempt) -> dict[str, Any]:
    """An attempt for templates/admin/webhooks/attempt.html."""
    succeeded = not made.error and made.status is not None and 200 <= made.status < 300
    return {
        "row": made,
        "answer": answer(made.status, made.error),
        "state": state(Delivery.State.DELIVERED if succeeded else Delivery.State.FAILED),
        "timings": timings(made),
        "started": moment(made.started_at),
    }
