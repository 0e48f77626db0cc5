"""Requests are read as UTF-8, whatever charset their Content-Type names."""

from __future__ import annotations

from django.core.handlers.wsgi import WSGIRequest


class Utf8Request(WSGIRequest):
    """Django would read the address in the charset of the body, too, and fail at one that is none, such as `rot13`,
    before anything of ours could answer. JSON has no other (RFC 8259, section 8.1), nor have forms here; a file is read
    as its import finds or is told."""

    @property
    def encoding(self) -> None:
        """None: the default, UTF-8."""
        return None

    @encoding.setter
    def encoding(self, value: str) -> None:
        """Passed over."""
