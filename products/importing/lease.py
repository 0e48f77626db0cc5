"""Step 2: who works on an import. The row decides, by conditional updates on the database's clock.

A worker *claims* a waiting import and gets an attempt number, its fencing token: every later write
of that worker names it, so one that was given up for dead can't write any more. It *renews* its
lease while it lives. The *sweep* takes away leases that ran out, and names the imports that want
a message sent.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from common.errors import ConflictError
from products.importing.receiver import set_failed_file_aside
from products.models import Import, ReportedRow
from products.progress import document, publish
from webhooks import outbox

logger = logging.getLogger(__name__)

MAX_LOSSES = 3
"""Workers that may vanish over one import. A file that kills them all must not go on for ever."""
MAX_RELEASES = 12
"""Attempts that may be given back because the database was in the way: some ten minutes."""
GIVE_BACK_WITHIN = 15 * 60.0
"""Seconds that a worker waits for a database that is down. After that its lease has run out anyway."""
REDISPATCH_AFTER = timedelta(seconds=30)
"""A message that was not taken up by then is sent again: it may be lost, and a copy does no harm."""

CANCELLED_WHILE_RUNNING = "The import was cancelled. Nothing was applied."

ZEROED = dict.fromkeys(
    (
        "percent",
        "bytes_read",
        "rows_read",
        "rows_created",
        "rows_updated",
        "rows_unchanged",
        "rows_rejected",
        "rows_duplicate",
    ),
    0,
)


class LeaseLostError(Exception):
    """This attempt no longer holds the import: it was given up for dead and another has it."""


class ImportCancelledError(Exception):
    """Somebody asked for the import to stop."""


@transaction.atomic
def claim(import_id: uuid.UUID, worker: str) -> Import | None:
    """Take a waiting import for this worker; None if there is nothing to do, as for a message that came twice."""
    claimed = (
        Import.objects.filter(pk=import_id, state=Import.State.PENDING)
        .filter(Q(retry_at__isnull=True) | Q(retry_at__lte=Now()))
        .update(
            state=Import.State.PROGRESS,
            phase=Import.Phase.STAGING,
            attempt=F("attempt") + 1,
            worker=worker,
            version=F("version") + 1,
            heartbeat_at=Now(),
            lease_expires_at=Now() + lease_time(),
            started_at=Now(),
            retry_at=None,
            **ZEROED,
        )
    )
    if not claimed:
        return None
    import_ = Import.objects.select_related("created_by").get(pk=import_id)
    ReportedRow.objects.filter(source_import=import_).delete()
    if import_.attempt == 1:
        outbox.publish("import.started", dict(document(import_)))
    return import_


def held(import_: Import) -> Q:
    """The import as long as this attempt holds it."""
    return Q(pk=import_.pk, attempt=import_.attempt, state=Import.State.PROGRESS)


def lease_time() -> timedelta:
    return timedelta(seconds=settings.IMPORT_LEASE_SECONDS)


def give_back(import_: Import, why: str) -> None:
    """Let another attempt try later: the trouble is not the file's. Ends the import after MAX_RELEASES."""
    releases = import_.attempt - import_.losses
    if releases >= MAX_RELEASES:
        fail(import_, "not_possible", f"The import was tried {import_.attempt} times. The last time: {why}")
        return
    changed = Import.objects.filter(held(import_)).update(
        state=Import.State.PENDING,
        phase=Import.Phase.RETRYING,
        version=F("version") + 1,
        lease_expires_at=None,
        retry_at=Now() + timedelta(seconds=min(2 ** (releases - 1), 60)),
        dispatched_at=None,
    )
    if changed:
        logger.warning("import_given_back: %s", why)
        publish(_read(import_.pk))


def give_back_when_possible(import_: Import, why: str) -> None:
    """`give_back`, also where the database that was in the way still is: waits for it, up to GIVE_BACK_WITHIN."""
    deadline = time.monotonic() + GIVE_BACK_WITHIN
    while True:
        try:
            connection.close()
            give_back(import_, why)
            return
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def fail(import_: Import, code: str, message: str) -> None:
    """End the import as failed, with a sentence for its uploader; the catalogue is as it was."""
    _end(held(import_), import_.pk, Import.State.FAILURE, code, message)


def cancelled(import_: Import) -> None:
    """End the import as cancelled; the catalogue is as it was."""
    _end(
        held(import_), import_.pk, Import.State.CANCELLED, "cancelled", "The import was cancelled. Nothing was applied."
    )


def request_cancel(import_: Import) -> Import:
    """Ask for the import to stop: at once if it waits, between two chunks if it runs.

    Returns the import as it is now. Raises ConflictError if it has ended already.
    """
    waiting = Q(pk=import_.pk, state=Import.State.PENDING)
    if not _end(waiting, import_.pk, Import.State.CANCELLED, "cancelled", "The import was cancelled before it began."):
        # The final state is set in the merge's transaction: this waits for it, and then finds nothing to change.
        changed = Import.objects.filter(pk=import_.pk, state=Import.State.PROGRESS).update(
            cancel_requested_at=Now(), version=F("version") + 1
        )
        if not changed:
            state = Import.State(_read(import_.pk).state)
            raise ConflictError(
                f"The import has already ended: {state.label.lower()}. There is nothing to cancel.",
                code="import_finished",
            )
        publish(_read(import_.pk))
    return _read(import_.pk)


def sweep() -> list[uuid.UUID]:
    """Take away the leases that ran out. Returns the imports that want a message to the workers, oldest first."""
    expired = Import.objects.filter(state=Import.State.PROGRESS, lease_expires_at__lt=Now())
    for import_ in expired:
        _take_away(import_)
    due = (
        Import.objects.filter(state=Import.State.PENDING)
        .filter(Q(retry_at__isnull=True) | Q(retry_at__lte=Now()))
        .filter(Q(dispatched_at__isnull=True) | Q(dispatched_at__lt=Now() - REDISPATCH_AFTER))
    )
    return list(due.order_by("created_at").values_list("pk", flat=True))


def dispatched(import_id: uuid.UUID, *, successfully: bool) -> None:
    """Note that a message for this import was sent, or that it could not be and the next sweep is to try again."""
    Import.objects.filter(pk=import_id).update(dispatched_at=Now() if successfully else None)


def _take_away(import_: Import) -> None:
    """The worker of this attempt is gone."""
    lost = held(import_) & Q(lease_expires_at__lt=Now())
    if import_.cancel_requested_at:
        _end(lost, import_.pk, Import.State.CANCELLED, "cancelled", CANCELLED_WHILE_RUNNING)
        return
    losses = import_.losses + 1
    if losses >= MAX_LOSSES:
        message = (
            f"{losses} workers in a row vanished over this file, perhaps for want of memory. "
            "Nothing was applied. Tell the operator of this server."
        )
        _end(lost, import_.pk, Import.State.FAILURE, "worker_lost", message)
        return
    logger.warning("import_worker_lost", extra={"import_id": str(import_.pk), "worker": import_.worker})
    Import.objects.filter(lost).update(
        state=Import.State.PENDING,
        phase=Import.Phase.RETRYING,
        losses=losses,
        version=F("version") + 1,
        lease_expires_at=None,
        dispatched_at=None,
    )


def _end(condition: Q, import_id: uuid.UUID, state: Import.State, code: str, message: str) -> bool:
    """End the import that fulfils `condition`, with its event; False if it does not (any more)."""
    with transaction.atomic():
        changed = Import.objects.filter(condition).update(
            state=state,
            phase=Import.Phase.FINISHED,
            error_code=code,
            error_message=message,
            rows_created=0,
            rows_updated=0,
            rows_unchanged=0,
            version=F("version") + 1,
            finished_at=Now(),
            lease_expires_at=None,
        )
        if not changed:
            return False
        import_ = _read(import_id)
        event = "import.failed" if state == Import.State.FAILURE else "import.cancelled"
        outbox.publish(event, dict(document(import_)))
    publish(import_)
    if state == Import.State.FAILURE:
        _keep_file(import_)
    return True


def _keep_file(import_: Import) -> None:
    try:
        set_failed_file_aside(import_)
    except OSError:
        # The import has ended all the same, and its file is where it was.
        logger.exception("failed_file_not_set_aside", extra={"import_id": str(import_.pk)})


def _read(import_id: uuid.UUID) -> Import:
    return Import.objects.select_related("created_by").get(pk=import_id)
