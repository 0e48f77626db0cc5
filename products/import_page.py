"""One import as its page shows it, on the plain page and inside the admin alike: steps, bars, sums, decisions.

What is said in which words is in `templates/products/import_panel.html`; here is what there is to say.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils import timezone

from accounts import access
from accounts.models import Scope
from products import progress
from products.change_pages import changes_context
from products.importing import report, twins
from products.importing.options import Limit
from products.models import Import, Product, ReportedRow
from products.row_pages import reports_of
from products.selection import Selection
from products.templatetags.figures import grouped, size

CHANGES_SHOWN = 10

SMALL_FILE = 1_000_000
"""Bytes. A file that is no larger is usually done when its page is asked for."""
FRESH = timedelta(seconds=2)
"""Since the workers were told of it."""
PATIENCE = 0.7
"""Seconds that the page of a small, fresh import waits for its end, rather than show "waiting" for a moment."""

ENCODINGS = {
    "utf-8": "UTF-8",
    "windows-1252": "Windows, western Europe (windows-1252)",
    "windows-1250": "Windows, central Europe (windows-1250)",
    "windows-1251": "Windows, Cyrillic (windows-1251)",
    "windows-1253": "Windows, Greek (windows-1253)",
    "windows-1254": "Windows, Turkish (windows-1254)",
    "iso-8859-1": "ISO 8859-1 (Latin 1)",
    "iso-8859-2": "ISO 8859-2 (Latin 2)",
    "iso-8859-15": "ISO 8859-15 (Latin 9)",
    "cp850": "DOS, western Europe (cp850)",
    "macintosh": "Mac, western Europe (macintosh)",
    "utf-16": "UTF-16",
    "shift_jis": "Shift JIS",
    "gb18030": "GB 18030",
}
"""What a file may be read again as."""
OPTIONS_KEPT = ("mode", "on_error", "max_rejects", "duplicates", "empty_cells", "max_deactivated")
"""For the corrected file, as for the one with the errors."""
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


def import_context(request: HttpRequest, import_: Import) -> dict[str, Any]:
    """What `products/import_panel.html` shows."""
    import_ = settled(import_)
    heartbeat = import_.heartbeat_at or import_.created_at
    checked = import_.phase == Import.Phase.CHECKED
    over = import_.finished or checked
    may = may_import(request)
    return {
        "import": import_,
        "document": progress.document(import_),
        "checked": checked,
        "running": not over,
        "steps": steps(import_),
        "bars": bars(import_),
        "figures": figures(import_),
        "sum": sum_of(import_),
        "settled": rows_settled(import_),
        "silent_for": max(0.0, (timezone.now() - heartbeat).total_seconds()),
        "ahead": _ahead(import_),
        "may_import": may,
        "may_cancel": not over and may and not import_.cancel_requested_at,
        "may_undo": may and import_.undoable,
        "set_back": import_.rows_updated + import_.products_deactivated,
        "corrected": urlencode({name: getattr(import_, name) for name in OPTIONS_KEPT}),
        "decision": Decision.on(import_) if checked else None,
        "causes": report.causes(import_, ReportedRow.Outcome.REJECTED)
        if _has_rows(import_) and import_.rows_rejected
        else [],
        "causes_of": report.ROWS_LOOKED_AT if import_.rows_rejected > report.ROWS_LOOKED_AT else 0,
        "reports": reports_of(import_) if _has_rows(import_) else [],
        "changes": _changes(request, import_) if over else None,
        "related": _related(request, import_),
        "reading": Reading.of(import_) if import_.kind == Import.Kind.FILE else None,
        "options": _options(import_),
    }


def _has_rows(import_: Import) -> bool:
    """Whether there are reported rows to show, if there are any."""
    return (import_.finished or import_.phase == Import.Phase.CHECKED) and import_.cleared_at is None


def may_import(request: HttpRequest) -> bool:
    """Whether this person may start, apply, undo and cancel imports."""
    return Scope.IMPORT in access.scopes_of(request.user, None)


def settled(import_: Import) -> Import:
    """The import, at its end if that is a matter of a moment: a small file is not worth a page that says "waiting"."""
    told = import_.dispatched_at is not None and timezone.now() - import_.dispatched_at < FRESH
    if not told or import_.bytes_total > SMALL_FILE or _ahead(import_):
        return import_
    deadline = time.monotonic() + PATIENCE
    while not _has_come_to_something(import_) and time.monotonic() < deadline:
        time.sleep(0.03)
        import_ = Import.objects.select_related("created_by").get(pk=import_.pk)
    return import_


def _has_come_to_something(import_: Import) -> bool:
    return import_.finished or import_.phase in (Import.Phase.CHECKED, Import.Phase.RETRYING)


def _ahead(import_: Import) -> int:
    """How many unfinished imports came before one that still waits."""
    if import_.state != Import.State.PENDING or import_.phase == Import.Phase.CHECKED:
        return 0
    before = Import.objects.filter(state__in=Import.UNFINISHED, pk__lt=import_.pk)
    return before.exclude(phase=Import.Phase.CHECKED).count()


# --- how far it is -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of the way. `standing` is done, going (on, beside another), now, todo, skipped or failed."""

    name: str
    standing: str
    note: str = ""


def steps(import_: Import) -> list[Step]:
    """The way from the upload to the result, and where on it the import is."""
    names = (
        ["Upload", "Check", "Changes", "Apply", "Result"] if import_.kind == Import.Kind.FILE else ["Apply", "Result"]
    )
    now = names.index(_place(import_))
    ended_badly = import_.state in (Import.State.FAILURE, Import.State.CANCELLED)
    found = []
    for position, name in enumerate(names):
        standing = "done" if position < now else "todo"
        if position == now:
            standing = "done" if import_.state == Import.State.SUCCESS else "failed" if ended_badly else "now"
        if name == "Check" and standing == "done" and _still_reads(import_):
            standing = "going"
        looked_at = import_.check_first or import_.checked_at  # a guessed encoding is always looked at
        if name == "Changes" and not looked_at and standing != "now":
            standing = "skipped"
        found.append(Step(name, standing, _note(import_, name, standing)))
    return found


def _place(import_: Import) -> str:
    """The name of the step that the import is at or, when it failed, ended at."""
    if import_.state == Import.State.SUCCESS:
        return "Result"
    if import_.kind != Import.Kind.FILE:
        return "Apply"
    if import_.phase == Import.Phase.CHECKED or import_.error_code == "check_expired":
        return "Changes"
    if import_.phase == Import.Phase.MERGING or import_.error_code == "too_many_deactivated":
        return "Apply"
    if import_.apply_requested_at and import_.phase not in (Import.Phase.STAGING, Import.Phase.COMPARING):
        return "Apply"
    if import_.finished and import_.checked_at:
        return "Changes"
    return "Check"


def _still_reads(import_: Import) -> bool:
    """Reading goes on beside the writing, where nobody asked to see the changes in between."""
    return import_.state == Import.State.PROGRESS and import_.bytes_read < import_.bytes_total


def _note(import_: Import, name: str, standing: str) -> str:
    if standing == "failed":
        return "cancelled" if import_.state == Import.State.CANCELLED else "failed"
    if standing in ("skipped", "going"):
        return "not asked for" if standing == "skipped" else "at the same time"
    if standing == "now":
        waits = import_.state == Import.State.PENDING and import_.phase != Import.Phase.CHECKED
        return "waiting" if waits else "your decision" if name == "Changes" else f"{import_.percent:.0f} %"
    if name == "Upload":
        return size(import_.bytes_total)
    return "done" if standing == "done" else ""


def rows_settled(import_: Import) -> int:
    """The rows of which it is known what becomes of them."""
    return sum(getattr(import_, name) for name in SUMMANDS)


@dataclass(frozen=True)
class Bar:
    """How much of a phase is done, in percent, and in what it is counted."""

    name: str
    label: str
    percent: float


def bars(import_: Import) -> list[Bar]:
    """A bar for each phase. How many rows there will be is judged by the bytes still to read."""
    if import_.kind != Import.Kind.FILE:
        return [Bar("whole", "Changing products", min(100.0, import_.percent))]
    read = import_.bytes_read / import_.bytes_total if import_.bytes_total else 0.0
    settled = rows_settled(import_)
    expected = import_.rows_read / read if read else 0.0
    checks = _is_planned(import_) or (import_.check_first and not import_.apply_requested_at)
    second = "Comparing with the catalogue" if checks else "Writing to the catalogue"
    return [
        Bar("reading", "Reading and checking", min(100.0, 100 * read)),
        Bar("writing", second, min(100.0, 100 * settled / expected) if expected else 0.0),
    ]


# --- what it came to, or would come to -----------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A count, by the name that the import's document has for it. `bad`: it wants looking at."""

    name: str
    label: str
    value: int
    bad: bool = False


LABELS = {
    Import.Kind.FILE: {
        "rows_read": ("Rows read", "Rows read"),
        "rows_created": ("Created", "New"),
        "rows_updated": ("Updated", "Changed"),
        "rows_unchanged": ("Unchanged", "Unchanged"),
        "rows_rejected": ("Rejected", "Rejected"),
        "rows_duplicate": ("Duplicate lines", "Duplicate lines"),
    },
    Import.Kind.UNDO: {
        "rows_read": ("Looked at", ""),
        "rows_updated": ("Set back", ""),
        "rows_deleted": ("Removed again", ""),
        "rows_created": ("Brought back", ""),
        "rows_rejected": ("Kept as they are", ""),
    },
    Import.Kind.BULK: {
        "rows_read": ("Looked at", ""),
        "rows_updated": ("Changed", ""),
        "rows_deleted": ("Deleted", ""),
        "rows_unchanged": ("Unchanged", ""),
    },
}
"""What each count is called: once it is so, and while the file is only checked."""
SUMMANDS = {
    "rows_created": ("created", "new"),
    "rows_updated": ("updated", "changed"),
    "rows_unchanged": ("unchanged", "unchanged"),
    "rows_rejected": ("rejected", "rejected"),
    "rows_duplicate": ("duplicate", "duplicate"),
    "rows_deleted": ("deleted", ""),
}
"""What the parts of the sum are called, in the same two cases."""


def _is_planned(import_: Import) -> bool:
    """Whether its counts say what would happen, rather than what has."""
    return import_.kind == Import.Kind.FILE and import_.phase in (Import.Phase.CHECKED, Import.Phase.COMPARING)


def figures(import_: Import) -> list[Figure]:
    """The counts that matter for this kind of import."""
    planned = _is_planned(import_)
    found = [
        Figure(name, words[planned], getattr(import_, name), name == "rows_rejected" and import_.rows_rejected > 0)
        for name, words in LABELS[Import.Kind(import_.kind)].items()
    ]
    if import_.mode == Import.Mode.SYNC or import_.products_deactivated:
        words = "To deactivate" if planned else "Deactivated"
        found.append(Figure("products_deactivated", words, import_.products_deactivated))
    if import_.rows_repaired:
        found.append(Figure("rows_repaired", "Repaired", import_.rows_repaired))
    return found


def sum_of(import_: Import) -> str:
    """The counts as a sum that is seen to add up, in the words that the counts have above it."""
    parts = {name: getattr(import_, name) for name in SUMMANDS}
    if import_.kind == Import.Kind.FILE:
        parts.pop("rows_deleted")
        called = {name: words[_is_planned(import_)] for name, words in SUMMANDS.items()}
        whole = "rows read"
    else:
        parts = {name: number for name, number in parts.items() if number}
        called = {name: words[0] for name, words in SUMMANDS.items()}
        called |= {name: words[0].lower() for name, words in LABELS[Import.Kind(import_.kind)].items()}
        whole = called["rows_read"]
    words = " + ".join(f"{grouped(number)} {called[name]}" for name, number in parts.items())
    return f"{grouped(import_.rows_read)} {whole} = {words or '0'}"


@dataclass(frozen=True)
class Decision:
    """What there is to decide on a checked file."""

    button: str
    """What applying it does, in words."""
    nothing: bool
    """It would change nothing."""
    deactivated: int
    active: int
    over_limit: bool
    """More products would become inactive than this import may do by itself."""
    limit: str

    @classmethod
    def on(cls, import_: Import) -> Decision:
        does = [
            f"{verb} {grouped(number)}"
            for verb, number in (
                ("create", import_.rows_created),
                ("change", import_.rows_updated),
                ("deactivate", import_.products_deactivated),
            )
            if number
        ]
        limit = Limit.parse(import_.max_deactivated)
        gone = import_.products_deactivated
        active = Product.objects.filter(status=Product.Status.ACTIVE).count() if gone else 0
        return cls(
            button=f"Apply: {', '.join(does)}" if does else "Apply: nothing changes",
            nothing=not does,
            deactivated=gone,
            active=active,
            over_limit=bool(gone) and limit.exceeded(gone, active),
            limit=limit.words("active products"),
        )


# --- what it was made of -------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How the file was read, and what may be said instead."""

    facts: list[tuple[str, str]]
    guessed: bool
    """The encoding is a guess: somebody should look whether the letters are right."""
    encoding: str
    delimiter: str
    header_line: str
    sheet: str
    sheets: list[str]
    """Of a workbook. It has no encoding and no delimiter."""
    encodings: dict[str, str]
    delimiters: dict[str, str]

    @classmethod
    def of(cls, import_: Import) -> Reading:
        found = {**import_.file_format, **import_.detected}

        def text(name: str) -> str:
            value = found.get(name)
            return "" if value is None else str(value)

        encoding, delimiter = text("encoding").lower(), text("delimiter")
        facts = [
            ("Encoding", ENCODINGS.get(encoding, encoding)),
            ("Delimiter", DELIMITERS.get(delimiter, delimiter)),
            ("Quotation mark", "none" if found.get("quote") == "" else text("quote")),
            ("Header in line", text("header_line")),
            ("Packed as", text("container")),
            ("File in it", text("file")),
            ("Sheet", text("sheet")),
        ]
        return cls(
            facts=[(name, value) for name, value in facts if value],
            guessed=found.get("encoding_from") == "guess",
            encoding=encoding,
            delimiter="tab" if delimiter == "\t" else delimiter,
            header_line=text("header_line"),
            sheet=text("sheet"),
            sheets=[str(sheet) for sheet in found.get("sheets") or []],
            encodings={encoding: encoding, **ENCODINGS} if encoding else ENCODINGS,
            delimiters={"tab" if sign == "\t" else sign: word for sign, word in DELIMITERS.items()},
        )


def _options(import_: Import) -> list[tuple[str, str]]:
    """What was asked for, in words."""
    if import_.kind == Import.Kind.BULK:
        chosen = Selection.of(import_.bulk.get("selection", {}))
        return [("Which products", "; ".join(chosen.words()) or "All of them")]
    if import_.kind == Import.Kind.UNDO:
        return []
    found = [
        ("What it may do", import_.get_mode_display()),
        ("Bad rows", import_.get_on_error_display()),
        ("Rejects allowed", Limit.parse(import_.max_rejects).words("rows") or "No limit"),
        ("A sku that is there twice", import_.get_duplicates_display()),
        ("Empty cells", import_.get_empty_cells_display()),
        ("Checked first", "Yes" if import_.check_first else "No"),
    ]
    if import_.mode == Import.Mode.SYNC:
        found.append(("May deactivate", Limit.parse(import_.max_deactivated).words("active products") or "No limit"))
    return found


def _related(request: HttpRequest, import_: Import) -> dict[str, Any]:
    """Other imports that this one has to do with, as far as the reader may see them."""
    visible = Import.objects.visible_to(request.user)

    def seen(pk: uuid.UUID | None) -> Import | None:
        return visible.filter(pk=pk).first() if pk else None

    return {
        "undoes": seen(import_.undoes_id),
        "undone_by": seen(import_.undone_by),
        "is_undone": Import.objects.filter(undoes=import_, state=Import.State.SUCCESS).exists(),
        "twin": twins.earlier(import_, request.user) if import_.kind == Import.Kind.FILE else None,
    }


def _changes(request: HttpRequest, import_: Import) -> dict[str, Any] | None:
    """The first page of its changes; None where there are none to see."""
    undecided_or_applied = import_.phase == Import.Phase.CHECKED or import_.state == Import.State.SUCCESS
    if not undecided_or_applied or not import_.products_changed:
        return None
    return changes_context(import_, {}, limit=CHANGES_SHOWN)
