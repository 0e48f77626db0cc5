"""How far an import is: the one document that every face shows, and its way to the watchers.

A snapshot is state, not an event: it says everything, so the newest one replaces all before it and
a lost one costs nothing. Pages, programs and sockets all show `document`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypedDict

from channels.layers import get_channel_layer
from django.db import connection, transaction
from django.utils import timezone

from products.models import Import

logger = logging.getLogger(__name__)

STALLED_AFTER = 10.0
"""Seconds without a heartbeat after which a running import is shown as stalled."""
SEND_TIMEOUT = 1.0
"""Seconds that one message may take on its way to the channel layer."""

TaskState = Literal["PENDING", "PROGRESS", "SUCCESS", "FAILURE"]
TASK_STATES: dict[str, TaskState] = {
    "PENDING": "PENDING",
    "PROGRESS": "PROGRESS",
    "SUCCESS": "SUCCESS",
    "FAILURE": "FAILURE",
    "CANCELLED": "FAILURE",  # a task has no word for it
}


class ErrorDocument(TypedDict):
    """Why an import failed: a stable code and a sentence for people."""

    code: str
    message: str


class FormatDocument(TypedDict):
    """How the file is read: what its uploader said, and what was found."""

    declared: dict[str, Any]
    detected: dict[str, Any]


class ImportLinks(TypedDict):
    """Where to go from here, as paths of the web server; `socket` is one of the live server."""

    self: str
    cancel: str
    apply: str
    undo: str
    changes: str
    rejects: str
    rejects_csv: str
    file: str | None
    page: str
    socket: str


class ImportDocument(TypedDict):
    """All there is to know of an import. Times are ISO 8601 in UTC, sizes bytes, `percent` 0-100."""

    id: str
    task_id: str
    version: int
    state: str
    phase: str
    percent: float
    rows_read: int
    rows_created: int
    rows_updated: int
    rows_unchanged: int
    rows_rejected: int
    rows_duplicate: int
    rows_deleted: int
    rows_repaired: int
    products_deactivated: int
    bytes_read: int
    bytes_total: int
    rows_per_second: int
    eta_seconds: int | None
    heartbeat_at: str | None
    stalled: bool
    error: ErrorDocument | None
    cancel_requested: bool
    attempt: int
    kind: str
    file_name: str
    sha256: str
    mode: str
    on_error: str
    max_rejects: str
    duplicates: str
    empty_cells: str
    max_deactivated: str
    check_first: bool
    mapping: dict[str, str]
    format: FormatDocument
    header: list[str]
    ignored_columns: list[str]
    checked_at: str | None
    expires_at: str | None
    stale: bool
    undoes: str | None
    undone_by: str | None
    undoable: bool
    created_by: str | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    links: ImportLinks


class TaskStatus(ImportDocument):
    """The same, for those who watch a task: with Celery's four states and whole percents."""

    status: TaskState
    progress: int


class SnapshotMessage(TypedDict):
    """What travels over the channel layer, to the group of the import."""

    type: Literal["import.snapshot"]
    document: ImportDocument


def document(import_: Import, *, now: datetime | None = None) -> ImportDocument:
    """The import as everybody is shown it. ``now`` is the time it was read, by the database's clock if known."""
    now = now or timezone.now()
    elapsed = _elapsed(import_, now)
    return {
        "id": str(import_.pk),
        "task_id": str(import_.pk),
        "version": import_.version,
        "state": str(import_.state),
        "phase": str(import_.phase),
        "percent": round(min(max(import_.percent, 0.0), 100.0), 1),
        "rows_read": import_.rows_read,
        "rows_created": import_.rows_created,
        "rows_updated": import_.rows_updated,
        "rows_unchanged": import_.rows_unchanged,
        "rows_rejected": import_.rows_rejected,
        "rows_duplicate": import_.rows_duplicate,
        "rows_deleted": import_.rows_deleted,
        "rows_repaired": import_.rows_repaired,
        "products_deactivated": import_.products_deactivated,
        "bytes_read": import_.bytes_read,
        "bytes_total": import_.bytes_total,
        "rows_per_second": round(import_.rows_read / elapsed) if elapsed else 0,
        "eta_seconds": _eta(import_, elapsed),
        "heartbeat_at": _iso(import_.heartbeat_at),
        "stalled": _stalled(import_, now),
        "error": {"code": import_.error_code, "message": import_.error_message} if import_.error_code else None,
        "cancel_requested": import_.cancel_requested_at is not None,
        "attempt": import_.attempt,
        "kind": str(import_.kind),
        "file_name": import_.file_name,
        "sha256": import_.sha256,
        "mode": str(import_.mode),
        "on_error": str(import_.on_error),
        "max_rejects": import_.max_rejects,
        "duplicates": str(import_.duplicates),
        "empty_cells": str(import_.empty_cells),
        "max_deactivated": import_.max_deactivated,
        "check_first": import_.check_first,
        "mapping": dict(import_.mapping),
        "format": {"declared": dict(import_.file_format), "detected": dict(import_.detected)},
        "header": list(import_.header),
        "ignored_columns": list(import_.ignored_columns),
        "checked_at": _iso(import_.checked_at),
        "expires_at": _iso(import_.expires_at),
        "stale": import_.stale,
        "undoes": str(import_.undoes_id) if import_.undoes_id else None,
        "undone_by": str(import_.undone_by) if import_.undone_by else None,
        "undoable": import_.undoable,
        "created_by": import_.created_by.get_username() if import_.created_by else None,
        "created_at": _iso(import_.created_at),
        "started_at": _iso(import_.started_at),
        "finished_at": _iso(import_.finished_at),
        "links": _links(str(import_.pk), has_file=bool(import_.stored_file)),
    }


def task_status(document: ImportDocument) -> TaskStatus:
    """The document in a task's words. 100 is only said of what succeeded."""
    status = TASK_STATES.get(document["state"], "FAILURE")
    progress = 100 if status == "SUCCESS" else min(int(document["percent"]), 99)
    return {**document, "status": status, "progress": progress}


def group_name(import_id: object) -> str:
    """The channel layer's group of those who watch this import."""
    return f"import.{import_id}"


def publish(import_: Import) -> None:
    """Tell the live processes of this snapshot, at once or, within a transaction, once its row is committed.

    Best effort: it does not raise and does not wait. The watchers read the row every few seconds
    anyway, so what is lost here is late by that, and never wrong.
    """
    try:
        message: SnapshotMessage = {"type": "import.snapshot", "document": document(import_)}
        send = partial(_sender().send, group_name(import_.pk), message)
        if connection.in_atomic_block:
            transaction.on_commit(send, robust=True)
        else:
            send()
    except Exception:
        logger.exception("progress_not_published", extra={"import_id": str(import_.pk)})


class _Sender:
    """An event loop in a thread of its own, which sends the newest snapshot of each import.

    `async_to_sync` would make a thread, an event loop and a connection for each message, and hold
    up the import while Valkey is slow. Here there is one of each for the life of the process,
    and a snapshot that waits is replaced by the one after it, so memory stays flat.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._waiting: dict[str, SnapshotMessage] = {}
        self._lock = threading.Lock()
        self._sending = False
        self._failing = False
        threading.Thread(target=self._loop.run_forever, name="progress-sender", daemon=True).start()

    def send(self, group: str, message: SnapshotMessage) -> None:
        with self._lock:
            self._waiting[group] = message
            start, self._sending = not self._sending, True
        if start:
            asyncio.run_coroutine_threadsafe(self._send_all(), self._loop)

    async def _send_all(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._sending = False
                    return
                group = next(iter(self._waiting))
                message = self._waiting.pop(group)
            await self._report(self._send_one(group, message))

    async def _send_one(self, group: str, message: SnapshotMessage) -> None:
        layer = get_channel_layer()
        if layer is not None:
            async with asyncio.timeout(SEND_TIMEOUT):
                await layer.group_send(group, message)

    async def _report(self, sending: Coroutine[Any, Any, None]) -> None:
        """Say once that messages fail, and once that they arrive again: not four times a second."""
        try:
            await sending
        except Exception as error:
            if not self._failing:
                logger.warning("progress_not_sent: watchers read the database instead (%s)", error or repr(error))
            self._failing = True
        else:
            if self._failing:
                logger.info("progress_sent_again")
            self._failing = False


_the_sender: _Sender | None = None
_the_sender_lock = threading.Lock()


def _sender() -> _Sender:
    global _the_sender
    with _the_sender_lock:
        if _the_sender is None:
            _the_sender = _Sender()
        return _the_sender


def _forget_sender() -> None:
    """A forked child has none of its parent's threads: it makes its own sender when it needs one."""
    global _the_sender, _the_sender_lock
    _the_sender, _the_sender_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_sender)


def _elapsed(import_: Import, now: datetime) -> float:
    """Seconds of work so far, 0.0 before its start."""
    if import_.started_at is None:
        return 0.0
    return max(((import_.finished_at or now) - import_.started_at).total_seconds(), 0.0)


def _eta(import_: Import, elapsed: float) -> int | None:
    """Seconds that are left if it goes on as it went so far."""
    if import_.state != Import.State.PROGRESS or not elapsed or not 0 < import_.percent <= 100:
        return None
    return round(elapsed * (100 - import_.percent) / import_.percent)


def _stalled(import_: Import, now: datetime) -> bool:
    last_sign = import_.heartbeat_at or import_.started_at
    if import_.state != Import.State.PROGRESS or last_sign is None:
        return False
    return (now - last_sign).total_seconds() > STALLED_AFTER


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _links(import_id: str, *, has_file: bool) -> ImportLinks:
    api = f"/api/v1/imports/{import_id}/"
    return {
        "self": api,
        "cancel": f"{api}cancel/",
        "apply": f"{api}apply/",
        "undo": f"{api}undo/",
        "changes": f"{api}changes/",
        "rejects": f"{api}rejects/",
        "rejects_csv": f"{api}rejects.csv",
        "file": f"{api}file/" if has_file else None,
        "page": f"/imports/{import_id}/",
        "socket": f"/ws/imports/{import_id}/",
    }
