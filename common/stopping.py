"""Whether this worker, or web server, has been asked to stop: long tasks look here between two steps, `/readyz` too."""

from __future__ import annotations

import mmap

# One byte for a process and the children that it forks, which alone run tasks or requests and are told of no signal.
# No lock is on it, as on an Event of multiprocessing: a child that is killed while it looks would keep that for ever.
_asked = mmap.mmap(-1, 1)


def ask_to_stop() -> None:
    """Called in the worker that got the signal, before it waits for its tasks."""
    _asked[0] = 1


def stopping() -> bool:
    """True once the worker has been asked to stop. What runs should end, or hand over, at its next good place."""
    return bool(_asked[0])
