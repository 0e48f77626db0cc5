"""Whether this worker, or web server, has been asked to stop: long tasks look here between two steps, `/readyz` too."""

from __future__ import annotations

import multiprocessing

# One flag for a process and the children that it forks, which alone run tasks or requests and are told of no signal.
_asked = multiprocessing.get_context("fork").Event()


def ask_to_stop() -> None:
    """Called in the worker that got the signal, before it waits for its tasks."""
    _asked.set()


def stopping() -> bool:
    """True once the worker has been asked to stop. What runs should end, or hand over, at its next good place."""
    return _asked.is_set()
