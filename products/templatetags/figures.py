"""Numbers and times as people read them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from django import template
from django.utils import timezone

if TYPE_CHECKING:
    from products.models import Import

register = template.Library()

BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@register.filter
def grouped(number: float | None) -> str:
    """1234567 as 1,234,567; nothing for None."""
    return "" if number is None else f"{number:,.0f}"


@register.filter
def size(number: float | None) -> str:
    """A number of bytes in the unit that fits it, by thousands as file managers show it."""
    if number is None:
        return ""
    value, unit = float(number), 0
    while value >= 1000 and unit < len(BYTE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:,.0f} {BYTE_UNITS[unit]}" if unit == 0 else f"{value:,.1f} {BYTE_UNITS[unit]}"


@register.filter
def duration(value: timedelta | float | None) -> str:
    """Seconds, or a timedelta, as 4.2 s, 3 min 20 s or 1 h 05 min."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@register.filter
def took(import_: Import) -> timedelta | None:
    """How long an import ran, or has been running for; None before it starts. A check that waits for a decision
    does not run."""
    if import_.started_at is None:
        return None
    ended_at = import_.checked_at if import_.phase == "checked" else import_.finished_at
    return (ended_at or timezone.now()) - import_.started_at


@register.filter
def likely(seconds: float | None) -> str:
    """Seconds that something is expected to take yet, as the range that such a guess deserves: 20–35 s."""
    if seconds is None:
        return ""
    low, high = seconds * 0.75, seconds * 1.4
    if high < 5:
        return "a few seconds"
    unit, word = (60, "min") if low >= 90 else (1, "s")
    step = 5 * unit if low / unit >= 10 else unit
    low, high = round(low / step) * step, math.ceil(high / step) * step
    return f"{low / unit:.0f}–{high / unit:.0f} {word}"


@register.filter
def standing(import_: Import) -> str:
    """Where an import stands, in the word for it."""
    return str(import_.standing.label)


@register.filter
def seconds(value: timedelta | None) -> str:
    """A timedelta as plain seconds for a script to read; empty for None."""
    return "" if value is None else f"{value.total_seconds():.1f}"
