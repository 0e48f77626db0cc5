"""Starts programs, passes on what they say, starts again what dies, and stops all of it in order.

Every program gets a session of its own, so that Ctrl-C in the terminal reaches only us. On Linux
the kernel ends the programs when we are killed, so that the next start finds the machine free.
Start programs from the main thread only: Linux takes the end of the starting *thread* for ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from odata.embedded.binaries import run_as
from odata.embedded.errors import StartError
from odata.embedded.places import Account

STEADY_SECONDS = 60
"""A program that ran this long counts as healthy: its next end is a first one again."""

MOST_RESTARTS = 5
LONGEST_LINE = 65536
PR_SET_PDEATHSIG = 1  # prctl(2)
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """What to run, and how to end it.

    ``stage`` orders the stop: the highest goes first, those of one stage go together.
    ``orphan_signal`` is what the program gets when we are killed.
    """

    name: str
    command: tuple[str, ...]
    stage: int
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    folder: Path = Path("/")
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20
    leader: bool = True
    """Whatever is left of its process group after its end is killed; false where it cleans up itself."""


class Child:
    """A program that was started: its process now, and what it said last."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.said: deque[str] = deque(maxlen=30)
        self.failures = 0
        self.restart_at: float | None = None
        self.started_at = 0.0
        self.process: subprocess.Popen[bytes]
        self.reader: threading.Thread

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class Supervisor:
    """The children of one run, in the order of their start.

    ``write`` takes one finished line; it is called from several threads.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.children: dict[str, Child] = {}
        self.in_a_hurry = False

    def say(self, name: str, text: str) -> None:
        self.write(f"{name:<8} | {text}")

    def start(self, program: Program) -> Child:
        """Start a program and watch it from now on. Raises StartError if it can't even be started."""
        child = Child(program)
        self._spawn(child)
        self.children[program.name] = child
        return child

    def _spawn(self, child: Child) -> None:
        program = child.program
        try:
            child.process = subprocess.Popen(
                program.command,
                cwd=program.folder,
                env={**os.environ, **program.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                preexec_fn=_ends_with_parent(program.orphan_signal),
                **run_as(program.account) if program.account else {},
            )
        except OSError as error:
            raise StartError(f"{program.name} can't be started ({program.command[0]}: {error.strerror}).") from None
        child.started_at = time.monotonic()
        child.restart_at = None
        child.reader = threading.Thread(target=self._pass_on, args=(child, child.process), daemon=True)
        child.reader.start()

    def _pass_on(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe: we asked for one
        with process.stdout as pipe:
            while line := pipe.readline(LONGEST_LINE):
                text = line.decode(errors="replace").rstrip()
                if text:
                    child.said.append(text)
                    self.say(child.program.name, text)

    def run(self) -> None:
        """Keep everything running, until a signal handler raises. StartError if something can't be kept up."""
        while True:
            self.tick()
            time.sleep(0.2)

    def tick(self) -> None:
        """Start again what has died, each time after a longer pause."""
        for child in list(self.children.values()):
            if child.alive:
                continue
            if child.restart_at is None:
                self._plan_restart(child)
            elif time.monotonic() >= child.restart_at:
                self._spawn(child)

    def _plan_restart(self, child: Child) -> None:
        name, now = child.program.name, time.monotonic()
        if child.program.leader:
            child.signal_group(signal.SIGKILL)
        child.failures = 1 if now - child.started_at > STEADY_SECONDS else child.failures + 1
        if child.failures > MOST_RESTARTS:
            raise StartError(f"{name} ended {child.failures} times in a row: its last lines above say why.")
        pause = 2 ** (child.failures - 1)
        child.restart_at = now + pause
        self.say(name, f"ended ({describe(child.process.returncode)}), starting it again in {pause} s")

    def stop(self, *names: str) -> None:
        """Stop these programs together and wait for their end; SIGKILL for what takes too long."""
        children = [child for name in names if (child := self.children.pop(name, None))]
        for child in children:
            if child.alive:
                self._send_stop(child)
        for child in children:
            self._await_end(child)

    def _send_stop(self, child: Child) -> None:
        # To the leader alone: Celery's and granian's masters stop their own children in order.
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(child.program.stop_signal)

    def _await_end(self, child: Child) -> None:
        deadline = time.monotonic() + child.program.stop_seconds
        while child.alive and time.monotonic() < deadline:
            if self.in_a_hurry and child.program.leader:
                break
            time.sleep(0.02)
        if child.alive:
            self.say(child.program.name, "is ended by force")
            child.signal_group(signal.SIGKILL)
            child.process.wait()
        elif child.program.leader:
            child.signal_group(signal.SIGKILL)
        child.reader.join(timeout=1)

    def stop_all(self) -> None:
        """Stop everything, stage by stage from the highest down."""
        while self.children:
            stage = max(child.program.stage for child in self.children.values())
            self.stop(*[name for name, child in self.children.items() if child.program.stage == stage])


def await_ready(
    child: Child, ready: Callable[[], bool], *, seconds: float, waiting: Callable[[], None] = lambda: None
) -> None:
    """Wait until `ready()`. Raises StartError if the child ends first or takes longer than `seconds`."""
    name = child.program.name
    deadline = time.monotonic() + seconds
    remind_at = time.monotonic() + 5
    while not ready():
        if not child.alive:
            child.reader.join(timeout=1)
            raise StartError(f"{name} did not start ({describe(child.process.returncode)}): {last_words(child)}")
        now = time.monotonic()
        if now > deadline:
            raise StartError(f"{name} is not ready after {seconds:g} s: {last_words(child)}")
        if now > remind_at:
            waiting()
            remind_at = now + 10
        time.sleep(0.03)


def last_words(child: Child) -> str:
    """The line that most likely says why: PostgreSQL's FATAL one, or the last."""
    fatal = [line for line in child.said if "FATAL" in line]
    return (fatal or [*child.said] or ["it said nothing"])[-1]


def describe(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _ends_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a new child does first: ask the kernel for `number` when its parent ends (Linux only).

    Runs between fork and exec, after the change of user, which would undo it. It takes no lock: it
    only calls into the C library, which was loaded before.
    """
    if LIBC is None:
        return None
    parent = os.getpid()

    def ask() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask
