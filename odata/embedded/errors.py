"""Why the service can't start, or can't go on."""

from __future__ import annotations


class StartError(Exception):
    """The message is one sentence for the person at the terminal: what is wrong and what to do."""
