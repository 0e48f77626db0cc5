"""Who may write to the file of an upload: one request at a time, whichever process it is in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ConflictError, ServiceError

SILENCE_SECONDS = 5.0
"""Time without a byte after which a writer counts as gone and another may take its place."""


class UploadLockedError(ServiceError):
    """Somebody else writes to the upload right now (RFC 4918, section 11.3)."""

    status = 423
    code = "upload_locked"
    title = "The upload is being written to"


class UploadTakenOverError(ConflictError):
    """This request was silent for too long, and a later one has gone on with the upload."""

    code = "upload_taken_over"


class Pen:
    """The right to write to the file of an upload, which one request has at a time, across processes.

    It is a lock file, held by flock(2): with its process it is gone at once. But a client may vanish
    without its connection ending here (a laptop that wakes up in another network), and the thread
    that reads from it waits for ever. So whoever finds the holder silent makes a new lock file in the
    old one's place. A holder looks whether its own is still there before whatever it does, with the
    partial file locked so that the two can't cross.
    """

    def __init__(self, path: Path) -> None:
        """Raises UploadLockedError, or FileNotFoundError."""
        self._lock_path = path.with_suffix(".lock")
        self.file = os.open(path, os.O_RDWR)
        try:
            with self._file_locked():
                self._lock = self._take()
                os.utime(self.file)
        except BaseException:
            os.close(self.file)
            raise

    def __enter__(self) -> Pen:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file_locked():
            if self._is_ours():
                self._lock_path.unlink()
        os.close(self._lock)
        os.close(self.file)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Nobody can take the pen within this block. Raises UploadTakenOverError if somebody has."""
        with self._file_locked():
            if not self._is_ours():
                raise UploadTakenOverError(
                    f"Nothing came in for {SILENCE_SECONDS:g} seconds, and another request has gone on with this "
                    "upload. Ask for the offset (HEAD) and go on from there."
                )
            yield

    def write(self, block: bytes, at: int) -> None:
        view = memoryview(block)
        with self.in_hand():
            while view:  # a disk that fills up takes a part first
                written = os.pwrite(self.file, view, at)
                view, at = view[written:], at + written

    def _take(self) -> int:
        for attempt in ("free", "silent"):
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                os.close(lock)
            silent_for = time.time() - os.fstat(self.file).st_mtime
            if attempt == "silent" or silent_for < SILENCE_SECONDS:
                break
            self._lock_path.unlink()
        raise UploadLockedError(
            "Another request writes to this upload right now. Wait for it, then ask for the offset (HEAD) and go on "
            "from there.",
            retry_after=round(SILENCE_SECONDS),
        )

    def _is_ours(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._lock), self._lock_path.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def _file_locked(self) -> Iterator[None]:
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)
