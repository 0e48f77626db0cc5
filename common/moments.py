"""Moments as pages show them."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString


def moment(when: datetime | None) -> SafeString:
    """A time that the browser shows in its reader's own zone (static/products/times.js); UTC where it can't."""
    if when is None:
        return SafeString("–")
    return format_html('<time datetime="{}">{} UTC</time>', when.isoformat(), f"{when:%Y-%m-%d %H:%M:%S}")
