"""What an attempt means for its delivery and for its endpoint. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from webhooks import backoff
from webhooks.models import Delivery
from webhooks.outcomes import SUCCESS, outcome_of

GONE = 410


class Answer(Protocol):
    """What there is to judge by of a `webhooks.attempted.Attempted`."""

    @property
    def status(self) -> int | None: ...
    @property
    def error(self) -> str: ...
    @property
    def reply_headers(self) -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    state: str
    """Of the delivery from now on."""
    delay: float = 0.0
    """Seconds to the next attempt, where it is pending."""
    turns_off: str = ""
    """Why the receiver wants no more at all; empty where it did not say so."""


def judge(answer: Answer, attempts: int, delays: Sequence[int] | None) -> Verdict:
    """The verdict on the last of so many attempts of a delivery.

    Only 2xx is a success; a redirect is a failure, since following one would lead anywhere. Everything else is tried
    again: a name that can't be found or a certificate that has expired is often put right within hours, and so is an
    address that is refused, since what a name leads to changes. A receiver's own words count too: 410 and the reply
    header `webhook-delivery: disable` turn the endpoint off, `abort-message` gives this delivery up.
    """
    word = answer.reply_headers.get("webhook-delivery", "").strip().lower()
    turns_off = ""
    if answer.status == GONE:
        turns_off = "The receiver answered 410 Gone: it wants no more events."
    elif word == "disable":
        turns_off = "The receiver answered with the header webhook-delivery: disable."
    if outcome_of(answer.status, answer.error) == SUCCESS:
        return Verdict(Delivery.State.DELIVERED, turns_off=turns_off)
    if word == "abort-message":
        return Verdict(Delivery.State.FAILED)
    delay = backoff.delay_after(attempts, delays, backoff.wish_of(answer.reply_headers.get("retry-after")))
    if turns_off:
        return Verdict(Delivery.State.PENDING, delay or 0.0, turns_off)  # parked with the others
    return Verdict(Delivery.State.FAILED) if delay is None else Verdict(Delivery.State.PENDING, delay)
