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

from common import request_ids
from common.errors import ConflictError, StoreUnavailableError
from products import events
from products.importing.receiver import set_failed_file_aside
from products.models import Import, ReportedRow
from products.progress import publish

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
DISCARDED = "The checked file was discarded. Nothing was applied."
CHECK_EXPIRED = "Nobody decided on the checked file in time. Nothing was applied; upload it again to import it."

COUNTS = (
    "rows_created",
    "rows_updated",
    "rows_deleted",
    "rows_unchanged",
    "products_deactivated",
)
"""What an attempt makes of the rows."""
COUNTS_OF_FILE = ("bytes_read", "rows_read", "rows_rejected", "rows_duplicate", "rows_repaired")
"""What an attempt that applies a checked file takes over from the check."""


class LeaseLostError(Exception):
    """This attempt no longer holds the import: it was given up for dead and another has it."""


class ImportCancelledError(Exception):
    """Somebody asked for the import to stop."""


class WorkerStopsError(Exception):
    """This worker was asked to stop: another one is to do the import."""


@transaction.atomic
def claim(import_id: uuid.UUID, worker: str) -> Import | None:
    """Take a waiting import for this worker; None if there is nothing to do, as for a message that came twice."""
    waiting = Import.objects.select_for_update(of=("self",)).filter(pk=import_id).filter(due())
    import_ = waiting.first()
    if import_ is None:
        return None
    applies_check = import_.apply_requested_at is not None and import_.staged_attempt is not None
    zeroed = COUNTS if applies_check else (*COUNTS, *COUNTS_OF_FILE)
    Import.objects.filter(pk=import_id).update(
        state=Import.State.PROGRESS,
        phase=Import.Phase.MERGING if applies_check else Import.Phase.STAGING,
        attempt=F("attempt") + 1,
        worker=worker,
        version=F("version") + 1,
        heartbeat_at=Now(),
        lease_expires_at=Now() + lease_time(),
        started_at=Now(),
        retry_at=None,
        percent=0,
        **dict.fromkeys(zeroed, 0),
    )
    import_ = _read(import_id)
    if not applies_check:
        ReportedRow.objects.filter(source_import=import_).delete()
    if import_.attempt == 1:
        events.import_happened("import.started", import_)
    return import_


def due() -> Q:
    """Imports that a worker may take up now."""
    return (
        Q(state=Import.State.PENDING)
        & ~Q(phase=Import.Phase.CHECKED)
        & (Q(retry_at__isnull=True) | Q(retry_at__lte=Now()))
    )


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


def hand_over(import_: Import) -> bool:
    """Let another worker take the import up at once, since this one stops. Neither a loss nor a failure; False if the
    import is no longer this attempt's. What was asked of it meanwhile, to be cancelled, the next attempt finds."""
    changed = Import.objects.filter(held(import_)).update(
        state=Import.State.PENDING,
        phase=Import.Phase.RETRYING,
        version=F("version") + 1,
        lease_expires_at=None,
        retry_at=None,
        dispatched_at=None,
    )
    if changed:
        logger.info("import_handed_over", extra={"import_id": str(import_.pk), "attempt": import_.attempt})
        publish(_read(import_.pk))
    return bool(changed)


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
    _end(held(import_), import_.pk, Import.State.CANCELLED, "cancelled", CANCELLED_WHILE_RUNNING)


def request_cancel(import_: Import) -> Import:
    """Ask for the import to stop: at once if it waits, between two chunks if it runs. A check that waits for a
    decision is given up.

    Returns the import as it is now. Raises ConflictError if it has ended already.
    """
    waiting = Q(pk=import_.pk, state=Import.State.PENDING)
    message = DISCARDED if import_.phase == Import.Phase.CHECKED else "The import was cancelled before it began."
    while not _end(waiting, import_.pk, Import.State.CANCELLED, "cancelled", message):
        # The final state is set in the merge's transaction: this waits for it, and then finds nothing to change.
        changed = Import.objects.filter(pk=import_.pk, state=Import.State.PROGRESS).update(
            cancel_requested_at=Now(), version=F("version") + 1
        )
        now = _read(import_.pk)
        if changed:
            publish(now)
            return now
        if now.finished:
            raise ConflictError(
                f"The import has already ended: {now.get_state_display().lower()}. There is nothing to cancel.",
                code="import_finished",
            )
        # It waits once more: it was given back, or its check was done, just now.
    return _read(import_.pk)


def request_apply(import_: Import, *, max_deactivated: str = "") -> Import:
    """Have a checked import applied, exactly as it was shown. `max_deactivated` replaces its limit, for mode sync.

    Returns the import as it is now. Raises ConflictError if it does not wait for that decision.
    """
    fields = {"max_deactivated": max_deactivated} if max_deactivated else {}
    if asked_by := request_ids.current():
        fields["request_id"] = asked_by
    changed = Import.objects.filter(pk=import_.pk, state=Import.State.PENDING, phase=Import.Phase.CHECKED).update(
        phase=Import.Phase.QUEUED,
        apply_requested_at=Now(),
        dispatched_at=Now(),
        version=F("version") + 1,
        **fields,
    )
    now = _read(import_.pk)
    if not changed:
        raise ConflictError(_why_not_applicable(now), code="not_checked")
    publish(now)
    return now


def _why_not_applicable(import_: Import) -> str:
    if import_.finished:
        return f"The import has already ended: {import_.get_state_display().lower()}. There is nothing to apply."
    if import_.apply_requested_at:
        return "The import is being applied already."
    return "The file is still being checked. Apply it when it has been: its phase is then `checked`."


def check_again(import_: Import) -> Import:
    """This attempt finds that what was staged is gone: let it read the file again, as an attempt of another number,
    and show what comes of it. Raises LeaseLostError if it is no longer this attempt's to decide."""
    changed = Import.objects.filter(held(import_)).update(
        attempt=F("attempt") + 1,
        phase=Import.Phase.STAGING,
        version=F("version") + 1,
        staged_attempt=None,
        **dict.fromkeys(COUNTS_OF_FILE, 0),
    )
    if not changed:
        raise LeaseLostError
    ReportedRow.objects.filter(source_import=import_).delete()
    return _read(import_.pk)


def sweep() -> list[uuid.UUID]:
    """Take away the leases that ran out. Returns the imports that want a message to the workers, oldest first."""
    expired = Import.objects.filter(state=Import.State.PROGRESS, lease_expires_at__lt=Now())
    for import_ in expired:
        _take_away(import_)
    undecided = Q(state=Import.State.PENDING, phase=Import.Phase.CHECKED, expires_at__lt=Now())
    for pk in Import.objects.filter(undecided).values_list("pk", flat=True):
        _end(undecided & Q(pk=pk), pk, Import.State.CANCELLED, "check_expired", CHECK_EXPIRED)
    unsent = Q(dispatched_at__isnull=True) | Q(dispatched_at__lt=Now() - REDISPATCH_AFTER)
    waiting = Import.objects.filter(due()).filter(unsent)
    return list(waiting.order_by("created_at").values_list("pk", flat=True))


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
            version=F("version") + 1,
            finished_at=Now(),
            lease_expires_at=None,
            staged_attempt=None,
            expires_at=None,
            **dict.fromkeys(COUNTS, 0),
        )
        if not changed:
            return False
        import_ = _read(import_id)
        if import_.undoes_id:  # what it was to undo can be undone another time
            Import.objects.filter(pk=import_.undoes_id, undone_by=import_.pk).update(undone_by=None)
        events.import_happened("import.failed" if state == Import.State.FAILURE else "import.cancelled", import_)
    publish(import_)
    if state == Import.State.FAILURE:
        _keep_file(import_)
    return True


def _keep_file(import_: Import) -> None:
    if not import_.stored_file:
        return
    try:
        set_failed_file_aside(import_)
    except (OSError, StoreUnavailableError):
        # The import has ended all the same, and its file is where it was.
        logger.exception("failed_file_not_set_aside", extra={"import_id": str(import_.pk)})


def _read(import_id: uuid.UUID) -> Import:
    return Import.objects.select_related("created_by").get(pk=import_id)
