"""What a look at the service found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"
STATES = (OK, WARNING, ERROR)
"""From good to bad; their places are the exit codes of the command."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `what` is its stable name; `remedy` says how to put it right, if it must be.

    Operators read both sentences, on a page and perhaps in a ticket: no password, no key, no token.
    """

    what: str
    state: str
    sentence: str
    remedy: str = ""


def ok(what: str, sentence: str) -> Finding:
    return Finding(what, OK, sentence)


def warning(what: str, sentence: str, remedy: str) -> Finding:
    return Finding(what, WARNING, sentence, remedy)


def error(what: str, sentence: str, remedy: str) -> Finding:
    return Finding(what, ERROR, sentence, remedy)


def worst(findings: list[Finding]) -> str:
    """The worst state among them; ok for none."""
    return max((each.state for each in findings), key=STATES.index, default=OK)
