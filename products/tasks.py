"""What the workers run. A task fetches and calls; the rules are in `products.importing`."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from django.core.files.storage import default_storage
from django.db import transaction
from kombu.exceptions import OperationalError as QueueError

from accounts import audit
from common.errors import ConflictError, NotFoundError
from common.stopping import stopping
from products import pushing
from products.importing import bulk, lease, pipeline, receiver, stager, undoer, uploads
from products.importing.options import FileFormat, ImportOptions
from products.models import Import, Upload
from products.selection import Selection

if TYPE_CHECKING:
    from accounts.models import User

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
"""Messages in the queue of the imports, beyond which a sweep sends no more: it repeats those that nobody takes up, so
that they would fill the queue's memory while no worker runs. The rows say what waits; sent is it when there is room."""


def start_import(chunks: Iterable[bytes], *, file_name: str, options: ImportOptions, user: User | None) -> Import:
    """Take a file in and tell the workers of it. Raises what `receiver.receive` raises; that nobody
    could be told is no error, since the sweep will."""
    import_ = receiver.receive(chunks, file_name=file_name, options=options, user=user)
    _dispatch_once_committed(import_.pk)
    return import_


def begin_import(file: receiver.KeptFile, *, file_name: str, options: ImportOptions, user: User | None) -> Import:
    """The same with a file that is in the store already. Raises what `receiver.begin` raises."""
    import_ = receiver.begin(file, file_name=file_name, options=options, user=user)
    _dispatch_once_committed(import_.pk)
    return import_


def import_upload(
    upload: Upload, file: receiver.KeptFile | None, *, options: ImportOptions, user: User | None
) -> Import:
    """The import of a finished upload, whose file is here from `uploads.kept`; asked again, the same one. Raises what
    `uploads.import_from` raises."""
    import_, is_new = uploads.import_from(upload, file, options=options, user=user)
    if is_new:
        _dispatch_once_committed(import_.pk)
    return import_


def apply_import(import_: Import, *, user: User | None, max_deactivated: str = "") -> Import:
    """Have a checked import applied. Raises what `lease.request_apply` raises."""
    import_ = lease.request_apply(import_, max_deactivated=max_deactivated)
    audit.record(user, "import.applied", import_)
    _dispatch_once_committed(import_.pk)
    return import_


def cancel_import(import_: Import, *, user: User | None) -> Import:
    """Ask for an import to stop. Raises what `lease.request_cancel` raises."""
    import_ = lease.request_cancel(import_)
    audit.record(user, "import.cancelled", import_)
    return import_


def undo_import(import_: Import, *, user: User | None) -> Import:
    """Have an applied import undone; the answer is the undo. Raises what `undoer.request_undo` raises."""
    undo = undoer.request_undo(import_, user=user)
    _dispatch_once_committed(undo.pk)
    return undo


def read_again(import_: Import, file_format: FileFormat, *, user: User | None) -> Import:
    """Have the file of an import checked once more, read as is said here; the answer is an import of its own. An
    import that is not over is given up for it. Raises NotFoundError where the file is not kept any more."""
    if not import_.stored_file or not default_storage.exists(import_.stored_file):
        raise NotFoundError("The file of this import is not kept any more. Upload it again.", code="file_gone")
    options = replace(ImportOptions.of(import_), file_format=file_format, check_first=True)
    with default_storage.open(import_.stored_file) as file:
        again = start_import(file.chunks(), file_name=import_.file_name, options=options, user=user)
    with contextlib.suppress(ConflictError):  # it was over already
        cancel_import(import_, user=user)
    return again


def change_products(action: str, selection: Selection, *, user: User | None) -> Import:
    """Have all products of a selection changed. Raises what `bulk.request_change` raises."""
    change = bulk.request_change(action, selection, user=user)
    _dispatch_once_committed(change.pk)
    return change


def _dispatch_once_committed(import_id: uuid.UUID) -> None:
    """At once, or after the transaction of a caller: before that, no worker would find the import."""
    transaction.on_commit(partial(dispatch, import_id))


def dispatch(import_id: uuid.UUID) -> None:
    """Send the message that an import waits, as well as that can be done right now."""
    try:
        run_import.apply_async(args=(str(import_id),), task_id=str(import_id), retry=False)
    except (QueueError, OSError) as error:
        logger.warning("import_not_dispatched: %s", error, extra={"import_id": str(import_id)})
        lease.dispatched(import_id, successfully=False)
    else:
        lease.dispatched(import_id, successfully=True)


@shared_task(bind=True)
def run_import(self: Task, import_id: str) -> None:
    """Do one import. A message that comes twice, or late, finds nothing to do; one that comes to a worker which stops,
    or is stopped over it, goes to another worker."""
    if stopping() or not pipeline.run(uuid.UUID(import_id), worker=f"{self.request.hostname}:{os.getpid()}"):
        dispatch(uuid.UUID(import_id))


@shared_task(ignore_result=False)
def remove_orphan_files() -> dict[str, int]:
    """Remove the files of uploads that were cut off by the death of their process."""
    return {"files": receiver.remove_orphans()}


@shared_task(ignore_result=False)
def remove_expired_uploads() -> dict[str, int]:
    """Remove the uploads that nobody has gone on with, and what there is of their files."""
    return {"uploads": uploads.remove_expired()}


@shared_task
def sweep_imports() -> None:
    """Put right what dead workers and lost messages left behind."""
    if waiting := lease.sweep():
        for import_id in waiting[: _room_in_queue()]:
            dispatch(import_id)
    stager.drop_abandoned()


def _room_in_queue() -> int:
    """How many messages of imports may be sent, beside those that wait."""
    with run_import.app.connection_for_read() as queue:
        try:
            waiting: int = queue.default_channel.client.llen("imports")  # type: ignore[attr-defined]  # Valkey's
        except (QueueError, OSError, *queue.connection_errors):  # type: ignore[misc]  # untyped there
            return MOST_WAITING  # who sends the first one is told what is wrong
    return max(0, MOST_WAITING - waiting)


@shared_task
def push_changes() -> None:
    """Tell of many changes those who want to hear of each. A message that comes twice finds nothing to do."""
    pushing.remove_expired()
    pushing.push_all()


def _push_soon(**kwargs: Any) -> None:
    """Beat would do it within seconds."""
    try:
        push_changes.apply_async(retry=False)
    except (QueueError, OSError) as error:
        logger.info("push_not_dispatched: %s", error)


pushing.requested.connect(_push_soon)
