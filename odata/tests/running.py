"""`manage.py up` as a user starts it: another process, a home of its own, and what it prints."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
from django.conf import settings

from common.tests.addresses import free_port
from common.tests.waiting import wait_until

DEADLINE = 60.0
OURS = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "ODATA_HOME", "ODATA_PROCESS", "SECRET_KEY", "LOG_LEVEL")


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder that the database's user can reach, unlike pytest's own when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="odata-up-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(home: Path, **changes: str) -> dict[str, str]:
    """A user's environment: nothing of the test run's own servers in it."""
    plain = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**plain, "ODATA_HOME": str(home), "SAMPLE": "0", **changes}


def manage(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False)


class Up:
    """One run of `manage.py up`."""

    def __init__(self, home: Path, **changes: str) -> None:
        self.home = home
        self.port, self.live_port = free_port(), free_port()
        self.env = environment(home, PORT=str(self.port), LIVE_PORT=str(self.live_port), **changes)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "up"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            self.lines.extend(line.rstrip("\n") for line in iter(pipe.readline, ""))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_line(self, text: str) -> str:
        """The first line with this text in it."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, f"a line with {text!r}")
        assert text in self.output, self.output
        return next(line for line in self.lines if text in line)

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, sign: str) -> psutil.Process:
        """The process of ours whose command line holds `sign`."""
        (found,) = [each for each in psutil.Process(self.process.pid).children() if sign in each.cmdline()]
        return found

    def kill_everything(self) -> None:
        doomed = [psutil.Process(self.process.pid), *self.children()]
        for each in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()
        psutil.wait_procs(doomed, timeout=DEADLINE)

    def stop(self) -> int:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=DEADLINE)
        self.reader.join(timeout=5)
        return code
