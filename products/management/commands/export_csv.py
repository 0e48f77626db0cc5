"""`manage.py export_csv`: the catalogue as a file, written in constant memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import audit
from common.errors import ServiceError
from products.exporting import Export, Formulas, write_csv, write_workbook
from products.models import Product

FAILED, USAGE = 1, 2


class Command(BaseCommand):
    help = "Export the catalogue, or a part of it, as CSV or as an Excel workbook."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", type=Path, metavar="FILE", help="Where to. Default: the standard output.")
        parser.add_argument("--status", choices=Product.Status.values, default="", help="Only products of this status.")
        parser.add_argument("--search", default="", help="Only products with this text in their sku or name.")
        parser.add_argument(
            "--columns", default="", help="Their names with commas between. Default: those of an import."
        )
        parser.add_argument(
            "--raw", action="store_true", help="Leave cells alone that a spreadsheet takes for formulas."
        )
        parser.add_argument("--xlsx", action="store_true", help="A workbook instead of CSV.")

    def handle(self, *, output: Path | None, raw: bool, xlsx: bool, **options: Any) -> None:
        parameters = {name: options[name] for name in ("status", "search", "columns")}
        try:
            export = Export.parse({**parameters, "formulas": str(Formulas.RAW if raw else Formulas.SAFE)})
        except ServiceError as error:
            raise CommandError(error.detail, returncode=USAGE) from None
        write = write_workbook if xlsx else write_csv
        try:
            _to_file(output, lambda file: write(export, file)) if output else write(export, sys.stdout.buffer)
        except ServiceError as error:
            raise CommandError(error.detail, returncode=FAILED) from None
        except BrokenPipeError:
            # Whoever read it has seen enough. The interpreter would complain of it once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise CommandError("The reader of the output has ended.", returncode=FAILED) from None
        except OSError as error:
            raise CommandError(f"{output} can't be written: {error.strerror}.", returncode=USAGE) from None
        asked = {name: value for name, value in parameters.items() if value}
        audit.record(None, "products.exported", details={"by": "manage.py", "asked": asked})


def _to_file(output: Path, write: Callable[[IO[bytes]], None]) -> None:
    """The file appears when it is whole; an older one of that name stays until then."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
