"""Imports: one file, one row. The row is the truth; the queue and the browsers only hold hints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, F, Q, Value, When
from django.db.models.functions import Now

from accounts import access
from common import request_ids
from common.ids import uuid7
from products.models.catalogue import TransactionIdField

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


class ImportQuerySet(models.QuerySet["Import"]):
    def standing(self, standing: str) -> ImportQuerySet:
        """Those that stand so: see `Import.standing`."""
        return self.annotate(stands=self._stands()).filter(stands=standing)

    def by_standing(self) -> dict[str, int]:
        """How many stand how."""
        counted = self.order_by().annotate(stands=self._stands()).values_list("stands").annotate(Count("pk"))
        return dict(counted)

    @staticmethod
    def _stands() -> Case:
        """`Import.standing`, as PostgreSQL finds it out."""
        checked = Q(state=Import.State.PENDING, phase=Import.Phase.CHECKED)
        discarded = Q(state=Import.State.CANCELLED, checked_at__isnull=False, apply_requested_at__isnull=True)
        return Case(
            When(checked, then=Value(Import.Standing.CHECKED)),
            When(discarded, then=Value(Import.Standing.DISCARDED)),
            default=F("state"),
        )

    def visible_to(self, user: User | AnonymousUser) -> ImportQuerySet:
        """The imports that this person may know of: their own, or all by permission."""
        if access.may_see_all_imports(user):
            return self
        return self.filter(created_by=user.pk) if user.is_authenticated else self.none()


class Import(models.Model):
    """One uploaded file on its way into the catalogue. Its id is also the id of its task."""

    class State(models.TextChoices):
        PENDING = "PENDING", "Waiting"
        PROGRESS = "PROGRESS", "Running"
        SUCCESS = "SUCCESS", "Done"
        FAILURE = "FAILURE", "Failed"
        CANCELLED = "CANCELLED", "Cancelled"

    class Standing(models.TextChoices):
        """The states as pages tell them: who waits for a decision waits for no worker, and a check that nobody wanted
        was discarded rather than cancelled."""

        WAITING = "PENDING", "Waiting"
        CHECKED = "CHECKED", "Checked"
        RUNNING = "PROGRESS", "Running"
        DONE = "SUCCESS", "Done"
        FAILED = "FAILURE", "Failed"
        CANCELLED = "CANCELLED", "Cancelled"
        DISCARDED = "DISCARDED", "Discarded"

    class Phase(models.TextChoices):
        QUEUED = "queued", "Waiting for a worker"
        RETRYING = "retrying", "Waiting to try again"
        STAGING = "staging", "Reading and checking"
        COMPARING = "comparing", "Comparing with the catalogue"
        CHECKED = "checked", "Checked, waiting for your decision"
        MERGING = "merging", "Writing to the catalogue"
        FINISHED = "finished", "Finished"

    class Kind(models.TextChoices):
        FILE = "file", "Import of a file"
        UNDO = "undo", "Undo of an import"
        BULK = "bulk", "Change of many products"

    class Mode(models.TextChoices):
        UPSERT = "upsert", "Create new products and update known ones"
        CREATE = "create", "Only create new products"
        UPDATE = "update", "Only update known products"
        SYNC = "sync", "Create and update, and deactivate what the file lacks"

    class OnError(models.TextChoices):
        SKIP = "skip", "Reject bad rows, apply the rest"
        ABORT = "abort", "Apply nothing if any row is bad"

    class Duplicates(models.TextChoices):
        LAST = "last", "The last line of a sku counts"
        FIRST = "first", "The first line of a sku counts"
        REJECT = "reject", "All lines of a sku that is there twice are rejected"

    class EmptyCells(models.TextChoices):
        KEEP = "keep", "An empty cell leaves the stored value alone"
        CLEAR = "clear", "An empty cell empties the stored value"

    UNFINISHED = (State.PENDING, State.PROGRESS)
    END_STATES = (State.SUCCESS, State.FAILURE, State.CANCELLED)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    phase = models.CharField(max_length=9, choices=Phase, default=Phase.QUEUED)

    # what was asked for
    kind = models.CharField(max_length=4, choices=Kind, default=Kind.FILE)
    mode = models.CharField(max_length=6, choices=Mode, default=Mode.UPSERT)
    on_error = models.CharField(max_length=5, choices=OnError, default=OnError.SKIP)
    max_rejects = models.CharField(max_length=40, default="100,10%")
    duplicates = models.CharField(max_length=6, choices=Duplicates, default=Duplicates.LAST)
    empty_cells = models.CharField(max_length=5, choices=EmptyCells, default=EmptyCells.KEEP)
    max_deactivated = models.CharField(max_length=40, default="10%", help_text="Of the active products, in mode sync.")
    check_first = models.BooleanField(default=False, help_text="Stop when checked, and wait for the word to apply.")
    mapping = models.JSONField(default=dict, help_text="Header -> column, attributes.NAME, or empty to leave it out.")
    file_format = models.JSONField(default=dict, help_text="What the uploader said of the file: encoding and so on.")
    bulk = models.JSONField(default=dict, help_text="Of a change of many products: what to do, and to which.")
    undoes = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="undos")
    # Without an index of its own: `import_by_owner` begins with it.
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, db_index=False)
    request_id = models.CharField(
        max_length=64, blank=True, default=request_ids.current, db_default="", help_text="Who last asked for work."
    )

    # the file
    file_name = models.CharField(max_length=255, help_text="As the uploader called it; data, never a path.")
    stored_file = models.CharField(max_length=255, help_text="Its name in the file store.")
    sha256 = models.CharField(max_length=64)
    bytes_total = models.BigIntegerField()

    # how far it is
    version = models.BigIntegerField(default=0, help_text="Grows with each snapshot of the progress.")
    percent = models.FloatField(default=0)
    bytes_read = models.BigIntegerField(default=0)
    rows_read = models.BigIntegerField(default=0)
    rows_created = models.BigIntegerField(default=0)
    rows_updated = models.BigIntegerField(default=0)
    rows_unchanged = models.BigIntegerField(default=0)
    rows_rejected = models.BigIntegerField(default=0)
    rows_duplicate = models.BigIntegerField(default=0)
    rows_deleted = models.BigIntegerField(default=0, help_text="Products that an undo or a bulk change removed.")
    rows_repaired = models.BigIntegerField(default=0, help_text="Rows applied after a repair; not in the sum.")
    products_deactivated = models.BigIntegerField(default=0, help_text="That the file lacks, in mode sync.")
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    header = models.JSONField(default=list, help_text="The file's header row.")
    ignored_columns = models.JSONField(default=list, help_text="Headers that are no column of a product.")

    detected = models.JSONField(default=dict, help_text="How the file was read: encoding, delimiter and so on.")

    # a check that waits for a decision, and what an applied import can be undone by
    checked_at = models.DateTimeField(null=True)
    staged_attempt = models.IntegerField(null=True, help_text="The attempt whose staging table is kept.")
    stale = models.BooleanField(default=False, help_text="Checked again, since the catalogue had changed meanwhile.")
    expires_at = models.DateTimeField(null=True, help_text="When a check that nobody decided on is given up.")
    apply_requested_at = models.DateTimeField(null=True)
    changes_after = models.BigIntegerField(null=True, help_text="Its history has ids above this one ...")
    changes_until = models.BigIntegerField(null=True, help_text="... up to this one.")
    changes_transaction = TransactionIdField(null=True, editable=False)
    """The transaction that wrote them."""
    undone_by = models.UUIDField(null=True, help_text="The import that undoes this one.")

    # who works on it
    attempt = models.IntegerField(default=0, help_text="Fencing token: grows with each claim.")
    losses = models.IntegerField(default=0, help_text="Attempts whose worker vanished.")
    worker = models.CharField(max_length=255, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    dispatched_at = models.DateTimeField(null=True, help_text="When its message was last sent.")
    cancel_requested_at = models.DateTimeField(null=True)

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cleared_at = models.DateTimeField(
        null=True, help_text="When its file and reported rows were removed, for their age."
    )

    objects = ImportQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["created_at"],
                name="import_unfinished",
                condition=models.Q(state__in=["PENDING", "PROGRESS"]),
            ),
            models.Index(fields=["created_by", "-id"], name="import_by_owner"),
            models.Index(fields=["sha256"], name="import_by_content"),
            models.Index(fields=["changes_transaction"], name="import_by_transaction"),
        ]

    def __str__(self) -> str:
        return f"{self.file_name} ({self.state})"

    @property
    def finished(self) -> bool:
        return self.state in self.END_STATES

    @property
    def standing(self) -> Standing:
        """The one word that people are told it by, everywhere."""
        if self.state == self.State.PENDING and self.phase == self.Phase.CHECKED:
            return self.Standing.CHECKED
        if self.state == self.State.CANCELLED and self.checked_at and not self.apply_requested_at:
            return self.Standing.DISCARDED
        return self.Standing(self.state)

    @property
    def products_changed(self) -> int:
        """How many products it changed, or would change."""
        return self.rows_created + self.rows_updated + self.rows_deleted + self.products_deactivated

    @property
    def undoable(self) -> bool:
        """Whether there is something of it in the catalogue that nobody has asked to be taken back."""
        return self.state == self.State.SUCCESS and not self.undone_by and bool(self.products_changed)


class ReportedRow(models.Model):
    """A row of the file of which more is to be said than that it was applied."""

    class Outcome(models.TextChoices):
        REJECTED = "rejected", "Rejected"
        DUPLICATE = "duplicate", "Another line with the same sku counts"
        REPAIRED = "repaired", "Applied after a repair"

    # Without the constraint: for each row it would walk through all versions of the import's row, of which four a
    # second are written, and none is cleared away while the merge lasts. A million rows took a quarter of an hour.
    # Without an index of its own, too: that of `reported_row_once` begins with it.
    source_import = models.ForeignKey(
        Import,
        on_delete=models.CASCADE,
        db_column="import_id",
        related_name="reported_rows",
        db_constraint=False,
        db_index=False,
    )
    line_number = models.BigIntegerField(help_text="As an editor shows it.")
    outcome = models.CharField(max_length=9, choices=Outcome)
    errors = models.JSONField(help_text="List of {column, code, message}.")
    cells = models.JSONField(help_text="The row as it stood in the file: a list of strings.")

    class Meta:
        ordering = ["line_number"]
        constraints = [
            models.UniqueConstraint(fields=["source_import", "outcome", "line_number"], name="reported_row_once"),
        ]

    def __str__(self) -> str:
        return f"line {self.line_number}: {self.outcome}"


class SavedMapping(models.Model):
    """How the columns of a file were mapped, for the next file with the same headers."""

    headers_digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the headers, whatever order.")
    mapping = models.JSONField()
    saved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    saved_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.headers_digest[:12]
