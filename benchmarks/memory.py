"""Memory of a process and its children, read from the operating system (Linux: /proc).

Two figures: *resident* is VmRSS, whose highest value the kernel itself keeps (VmHWM), so that no
peak is missed; *proportional* is Pss, sampled. Resident memory that a worker shares with the parent
it was forked from counts twice in a sum, and hides what the worker copies when it writes there;
proportional memory does neither.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MB = 1024 * 1024
SAMPLE_SECONDS = 0.02
STEADY_SECONDS = 1.5
STEADY_WITHIN = 60
RESET_PEAK = "5"
"""Written to /proc/PID/clear_refs, it sets VmHWM back to VmRSS (proc(5))."""


@dataclass
class Growth:
    """How far memory rose, in bytes."""

    resident: int = 0
    proportional: int = 0

    def as_mb(self) -> dict[str, float]:
        return {"resident_mb": round(self.resident / MB, 1), "proportional_mb": round(self.proportional / MB, 1)}


class Tree:
    """A process and all of its children."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def pids(self) -> list[int]:
        return [self._root.pid, *(child.pid for child in self._root.children(recursive=True))]

    def cpu_seconds(self) -> float:
        """Processor time so far, of those that live."""
        times = [psutil.Process(pid).cpu_times() for pid in self.pids()]
        return float(sum(each.user + each.system for each in times))

    def resident(self) -> int:
        return sum(_read(pid, "status", "VmRSS:") for pid in self.pids())

    def highest_resident(self) -> int:
        return sum(_read(pid, "status", "VmHWM:") for pid in self.pids())

    def proportional(self) -> int:
        return sum(_read(pid, "smaps_rollup", "Pss:") for pid in self.pids())

    def forget_peaks(self) -> None:
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)

    def await_steady(self) -> None:
        """Wait until nothing changes any more: the process has started and is idle."""
        deadline = time.monotonic() + STEADY_WITHIN
        state, since = (self.pids(), self.proportional()), time.monotonic()
        while time.monotonic() - since < STEADY_SECONDS:
            if time.monotonic() > deadline:
                raise TimeoutError("the process does not come to rest")
            time.sleep(0.1)
            now = (self.pids(), self.proportional())
            if now[0] != state[0] or abs(now[1] - state[1]) > MB // 4:
                state, since = now, time.monotonic()


@contextlib.contextmanager
def watch(tree: Tree) -> Iterator[Growth]:
    """How far the memory of these processes rises above what it is now; known when the block has ended.

    Raises RuntimeError if one of the processes was replaced by another: the figures are then of no worth.
    """
    growth = Growth()
    pids, resident, proportional = tree.pids(), tree.resident(), tree.proportional()
    tree.forget_peaks()
    highest = [proportional]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            highest.append(max(highest.pop(), tree.proportional()))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()
    if tree.pids() != pids:
        raise RuntimeError("a process that was measured has ended")
    growth.resident = max(0, tree.highest_resident() - resident)
    growth.proportional = highest[0] - proportional


def _read(pid: int, file: str, field: str) -> int:
    """A size in /proc, in bytes; 0 for a process that has just ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
