"""`manage.py read_csv`: what the importer makes of a file, as CSV that every program reads."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase, TextIOWrapper
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ServiceError
from products.importing.options import FORMAT_NAMES, FileFormat, parse_format
from products.importing.reader import Table, open_table
from products.importing.repairs import repair

FAILED, USAGE = 1, 2
EXIT_CODES = f"""
exit codes:
  0    the whole file was read
  {FAILED}    the file can't be read (on): the message says where and why
  {USAGE}    the command can't be carried out as given: no such file or option
"""
REPAIRS_SHOWN = 10
NAMES = {"\t": "tab", "": "none"}


class Command(BaseCommand):
    help = (
        "Read a table as the importer does (any encoding, delimiter, archive or workbook that it knows; no sku is "
        "needed), and write it as plain CSV: UTF-8, commas, CRLF. What was found out goes to stderr."
    )
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="The file to read.")
        add_format_arguments(parser)
        parser.add_argument("--output", required=True, metavar="FILE", help="Where to write it; - for stdout.")

    def handle(self, *, file: Path, output: str, **options: Any) -> None:
        said = format_of(options)
        try:
            with file.open("rb") as stream, _written(output, self.stdout) as out:
                table = open_table(stream, total_bytes=file.stat().st_size, file_format=said)
                self._tell(table)
                self._copy(table, out)
        except ServiceError as error:
            raise CommandError(error.detail, returncode=FAILED) from None
        except OSError as error:
            raise CommandError(f"{error.filename or file}: {error.strerror}.", returncode=USAGE) from None

    def _tell(self, table: Table) -> None:
        for name, value in table.detected.items():
            shown = ", ".join(value) if isinstance(value, list) else NAMES.get(value, value)
            self.stderr.write(f"{name.replace('_', ' ')}: {shown}", lambda text: text)

    def _copy(self, table: Table, out: TextIOBase) -> None:
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(table.header)
        width, rows, repaired = len(table.header), 0, 0
        for line_number, cells in table:
            rows += 1
            if len(cells) != width and (found := repair(line_number, cells, width, table.dialect)):
                cells, repaired = found.cells, repaired + 1
                if repaired <= REPAIRS_SHOWN:
                    self.stderr.write(f"Line {line_number:,}: {found.what.message}", lambda text: text)
            writer.writerow(cells)
        self.stderr.write(f"{rows:,} rows, {repaired:,} of them repaired", lambda text: text)


def add_format_arguments(parser: CommandParser) -> None:
    """What the importer would find out by itself."""
    group = parser.add_argument_group("how the file is written, where it should not be found out")
    group.add_argument("--encoding", help="Such as utf-8, utf-16 or windows-1252.")
    group.add_argument("--delimiter", help="One character, or tab.")
    group.add_argument("--quote", help="The quotation mark, or none.")
    group.add_argument("--header-line", help="The line that names the columns.")
    group.add_argument("--sheet", help="Of a workbook, the sheet to read.")


def format_of(options: dict[str, Any]) -> FileFormat:
    """The format that these arguments declare. Raises CommandError."""
    try:
        return parse_format({name: options[name] or "" for name in FORMAT_NAMES})
    except ServiceError as error:
        raise CommandError(error.detail, returncode=USAGE) from None


@contextmanager
def _written(output: str, stdout: TextIOBase) -> Iterator[TextIOBase]:
    """The file to write to. It gets its name when it is whole; until then it is called `.part`."""
    if output == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield stdout
        return
    path = Path(output)
    if path.exists() and not path.is_file():  # such as /dev/stdout
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
