"""`manage.py import_csv`: import a file from the terminal, in this process."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from accounts import audit
from accounts.models import User
from common.errors import ServiceError
from products import progress
from products.changes import ChangeFilter, changes_of
from products.importing import lease, pipeline, receiver
from products.importing.detect import GUESSED
from products.importing.options import FORMAT_NAMES, OPTION_NAMES, ImportOptions
from products.management.commands.read_csv import add_format_arguments
from products.models import Import
from products.tasks import cancel_import

CHUNK = 1024 * 1024
SECONDS_A_LOOK = 0.25

FAILED, USAGE, REJECTS, CHECKED, INTERRUPTED = 1, 2, 3, 4, 130
CHANGES_SHOWN = 10
EXIT_CODES = f"""
exit codes:
  0    every row was applied (or was there already, or a later line replaced it)
  {FAILED}    the import failed or was cancelled: nothing was applied
  {USAGE}    the command can't be carried out as given: no such file, option or user
  {REJECTS}    it finished, and some rows were rejected; the others were applied
  {CHECKED}    it was checked and waits for a decision: nothing was applied yet
  {INTERRUPTED}  interrupted by Ctrl-C: nothing was applied
"""


class Command(BaseCommand):
    help = "Import a CSV file of products: the same as an upload, without the queue."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        defaults = ImportOptions()
        parser.add_argument("file", type=Path, metavar="FILE", help="The file; its first line names the columns.")
        parser.add_argument("--mode", default=defaults.mode, help=_described(Import.Mode))
        parser.add_argument("--on-error", default=defaults.on_error, help=_described(Import.OnError))
        parser.add_argument(
            "--max-rejects",
            default=defaults.max_rejects,
            help="Stop when more rows are rejected: a number, a percentage, both, or none. Default: 100,10%%",
        )
        parser.add_argument("--duplicates", default=defaults.duplicates, help=_described(Import.Duplicates))
        parser.add_argument("--empty-cells", default=defaults.empty_cells, help=_described(Import.EmptyCells))
        parser.add_argument("--max-deactivated", default=defaults.max_deactivated, help="In mode sync. Default: 10%%")
        parser.add_argument("--mapping", default="", help='Where columns go: JSON such as {"Artikel": "sku"}.')
        parser.add_argument("--check", action="store_true", help="Show what would change, and ask before applying it.")
        parser.add_argument("--yes", action="store_true", help="Apply what was checked without asking.")
        add_format_arguments(parser)
        parser.add_argument("--user", metavar="USERNAME", help="Whose import it is. Default: nobody's.")

    def handle(self, *, file: Path, user: str | None, yes: bool, **options: Any) -> None:
        import_ = self._receive(file, _options(options), _user(user))
        with _cancelled_by_ctrl_c(import_):
            self._run(import_)
            # What changed meanwhile is shown again before it is applied.
            while import_.phase == Import.Phase.CHECKED:
                self.stdout.write(checked(import_))
                self._decide(import_, yes=yes and not import_.stale)
                self._run(import_)
        self.stdout.write(outcome(import_))
        if import_.state != Import.State.SUCCESS:
            sys.exit(FAILED)
        if import_.rows_rejected:
            sys.exit(REJECTS)

    def _decide(self, import_: Import, *, yes: bool) -> None:
        """Have the checked import applied or given up; where nobody can be asked, let it wait."""
        if not yes and not sys.stdin.isatty():
            self.stdout.write(f"Waiting to be applied: {progress.document(import_)['links']['page']}")
            sys.exit(CHECKED)
        if yes or input("apply? [y/N] ").strip().lower() in ("y", "yes"):
            lease.request_apply(import_)
            audit.record(import_.created_by, "import.applied", import_)
        else:
            cancel_import(import_, user=import_.created_by)
        import_.refresh_from_db()

    def _run(self, import_: Import) -> None:
        """Do the import, and come back when it has ended: a worker may have been quicker to take it
        up, and an attempt that the database got in the way of is tried again."""
        with _bar(import_):
            while not import_.finished and import_.phase != Import.Phase.CHECKED:
                pipeline.run(import_.pk, worker=f"import_csv:{os.getpid()}")
                import_.refresh_from_db()
                if not import_.finished and import_.phase != Import.Phase.CHECKED:
                    time.sleep(SECONDS_A_LOOK)

    def _receive(self, file: Path, options: ImportOptions, user: User | None) -> Import:
        try:
            with file.open("rb") as stream:
                chunks = iter(partial(stream.read, CHUNK), b"")
                return receiver.receive(chunks, file_name=file.name, options=options, user=user)
        except OSError as error:
            raise CommandError(f"{file} can't be read: {error.strerror}.", returncode=USAGE) from None
        except ServiceError as error:
            raise CommandError(error.detail, returncode=FAILED) from None


def _described(choices: Any) -> str:
    return "; ".join(f"{value}: {label[0].lower()}{label[1:]}" for value, label in choices.choices)


def _options(options: dict[str, Any]) -> ImportOptions:
    said = {name: options.get(name) or "" for name in (*OPTION_NAMES, *FORMAT_NAMES)}
    try:
        return ImportOptions.parse({**said, "check_first": options["check"]})
    except ServiceError as error:
        raise CommandError(error.detail, returncode=USAGE) from None


def _user(username: str | None) -> User | None:
    if username is None:
        return None
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise CommandError(f"There is no user {username!r}.", returncode=USAGE) from None


def checked(import_: Import) -> str:
    """What a checked file would change, in sentences."""
    would = f"{import_.rows_created:,} would be created, {import_.rows_updated:,} updated"
    rest = f"{import_.rows_duplicate:,} replaced by another line, {import_.rows_rejected:,} rejected"
    lines = [
        f"{import_.rows_read:,} rows read: {would}; {import_.rows_unchanged:,} are unchanged, {rest}.",
    ]
    if import_.products_deactivated:
        lines.append(f"{import_.products_deactivated:,} products that the file lacks would become inactive.")
    if import_.stale:
        lines.insert(0, "The catalogue has changed since the file was checked, so it was checked again.")
    if import_.detected.get("encoding_from") == GUESSED:
        lines.append(f"The encoding is a guess: {import_.detected['encoding']}. Do the names read right?")
    changes = changes_of(import_, ChangeFilter()).page(after=None, before=None, limit=CHANGES_SHOWN)
    for change in changes:
        fields = (f"{name} {each['old']!r} -> {each['new']!r}" for name, each in change["fields"].items())
        lines.append(f"{change['action']} {change['sku']}: {', '.join(fields)}")
    if len(changes) == CHANGES_SHOWN:
        lines.append("...")
    return "\n".join(lines)


def outcome(import_: Import) -> str:
    """What became of the import, in sentences."""
    if import_.state == Import.State.CANCELLED:
        return "Cancelled: nothing was applied."
    if import_.state == Import.State.FAILURE:
        return f"Failed: {import_.error_message}"
    document = progress.document(import_)
    applied = (
        f"{import_.rows_created:,} created, {import_.rows_updated:,} updated, {import_.rows_unchanged:,} unchanged"
    )
    left = f"{import_.rows_duplicate:,} replaced by a later line, {import_.rows_rejected:,} rejected"
    lines = [f"{import_.rows_read:,} rows read, {document['rows_per_second']:,} a second: {applied}, {left}."]
    if import_.ignored_columns:
        lines.append(f"Columns that are none of a product's were ignored: {', '.join(import_.ignored_columns)}.")
    if import_.rows_repaired:
        lines.append(f"{import_.rows_repaired:,} rows were repaired before they were applied.")
    lines += [_of_row(row) for row in import_.reported_rows.filter(outcome="rejected").order_by("line_number")[:10]]
    if import_.rows_rejected:
        lines.append(f"All rejected rows, to correct and import again: {document['links']['rejects_csv']}")
    return "\n".join(lines)


def _of_row(row: Any) -> str:
    return f"Line {row.line_number}: {' '.join(error['message'] for error in row.errors)}"


# --- while it runs -----------------------------------------------------------------------------


@contextmanager
def _cancelled_by_ctrl_c(import_: Import) -> Iterator[None]:
    """An import that is broken off here must not be taken up again by a worker."""
    try:
        yield
    except KeyboardInterrupt:
        cancel_import(import_, user=import_.created_by)
        sys.stderr.write("Cancelled: nothing was applied.\n")
        sys.exit(INTERRUPTED)


@contextmanager
def _bar(import_: Import) -> Iterator[None]:
    """A bar on a terminal's stderr, drawn from the import's row by a thread of its own."""
    done = threading.Event()
    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(import_.file_name, total=100)

        def watch() -> None:
            while not done.wait(SECONDS_A_LOOK):
                try:
                    row = Import.objects.get(pk=import_.pk)
                except DatabaseError:  # it is away; the import itself waits for it, and so does the bar
                    connection.close()
                    continue
                text = f"{row.get_phase_display()}, {row.rows_read:,} rows"
                bar.update(task, completed=row.percent, description=text)
            connection.close()

        watcher = threading.Thread(target=watch, name="progress-bar")
        watcher.start()
        try:
            yield
            bar.update(task, completed=100)
        finally:
            done.set()
            watcher.join()
