"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import datetime

_TICKS_A_MILLISECOND = 1 << 12
_last = 0


def uuid7() -> uuid.UUID:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, 12 bits of their fraction (section 6.2,
    method 3), then 62 random bits. Those that one thread makes sort in the order in which it made them."""
    global _last
    # A clock that stands still, or goes back, must not turn the order around.
    _last = ticks = max(time.time_ns() * _TICKS_A_MILLISECOND // 1_000_000, _last + 1)
    milliseconds, fraction = divmod(ticks, _TICKS_A_MILLISECOND)
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)


def first_uuid7(moment: datetime) -> uuid.UUID:
    """The least UUIDv7 that can have been made at this time or later: its milliseconds, then nothing. Those of a time
    before 1970 begin there."""
    return uuid.UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
