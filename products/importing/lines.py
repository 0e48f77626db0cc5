"""Bytes to lines, in constant memory, and every complaint with its place."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import NoReturn

from products.importing.detect import Encoding
from products.importing.errors import FileError
from products.importing.sources import HEAD_BYTES, Text

BLOCK_BYTES = 1 << 18
"""Read at a time. Larger blocks are no faster, and cost memory."""
READ_AHEAD = 2 * BLOCK_BYTES
"""By so many bytes what is taken from the file may be ahead of the rows: the block at hand and the one after it."""
MAX_FIELD = 1 << 20
"""Characters of one cell."""
MAX_ROW = 4 << 20
"""Characters of one row: bounds the memory that a file without line ends can take."""

_LINE_END = re.compile("\r\n|\r|\n")


def count_line_ends(text: str) -> int:
    """CRLF, LF and a CR alone each end a line, as in an editor; nothing else does."""
    return sum(1 for _ in _LINE_END.finditer(text))


class Lines:
    """The lines of a file, their ends kept, in blocks; and what is known of the row they belong to."""

    def __init__(self, source: Text, encoding: Encoding) -> None:
        self.row_began = 0
        """Line on which the row began that goes on over the next lines, 0 between rows. The reader
        keeps it."""
        self.given = 0
        """Lines that the reader has been given."""
        self._source = source
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding.codec)("strict")
        # In these a NUL byte is half of a character; in all others it is one.
        self._wide = encoding.codec.startswith(("utf-16", "utf-32"))
        self._unfinished: list[str] = []
        self._rest = ""
        self._decoded = 0

    def unfinished_row(self) -> str:
        """The text from the beginning of the row at hand, as far as the reader has been given it."""
        return "".join(self._unfinished[self._lines_finished() :])

    def sample(self) -> str:
        """The whole lines at the beginning of the file; a mistake in the text is not yet an error."""
        head = self._source.head
        text = codecs.getincrementaldecoder(self._encoding.codec)("replace").decode(head).lstrip("\ufeff")
        if len(head) < HEAD_BYTES:
            return text
        end = max(text.rfind("\n"), text.rfind("\r"))
        return text[: end + 1] if end >= 0 else text

    def blocks(self, delimiter: str) -> Iterator[list[str]]:
        """The lines, many at a time. The reader asks for the next block when it has taken the last."""
        for text in self._texts():
            self._forget_finished_rows()
            lines = io.StringIO(self._rest + text, newline="").readlines()
            # The last may go on in the next block, or end in a CR whose LF comes there.
            self._rest = lines.pop() if lines else ""
            self._refuse_endless_row(delimiter)
            yield self._give(lines)
        if self._rest:
            self._forget_finished_rows()
            yield self._give([self._rest])

    def _texts(self) -> Iterator[str]:
        data = self._source.head
        beginning = True
        while True:
            more = self._source.read(BLOCK_BYTES)
            text = self._decode(data, final=not more)
            if beginning and text:
                text, beginning = text.lstrip("\ufeff"), False  # some programs write a second mark
            yield text
            if not more:
                return
            data = more

    def _decode(self, data: bytes, *, final: bool) -> str:
        if not self._wide and (nul := data.find(0)) >= 0:
            raise self._nul(self._decoded + nul, data[:nul].decode(self._encoding.codec, "replace"))
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            self._refuse_bytes(error, self._decoded + len(data) - len(error.object))
        if self._wide and (at := text.find("\0")) >= 0:
            raise self._nul(self._decoded + len(text[:at].encode(self._encoding.codec)), text[:at])
        self._decoded += len(data)
        return text

    def _nul(self, place: int, before: str) -> FileError:
        return FileError(
            f"Byte {place:,} (line {self._line_after(before):,}) is a NUL, which no text has: this is not a text file, "
            "or it is damaged. Export it again as CSV UTF-8.",
            code="nul_byte",
        )

    def _refuse_bytes(self, error: UnicodeDecodeError, base: int) -> NoReturn:
        """What the decoder stumbled over; the bytes that it had begin at byte `base` of the file."""
        utf8 = self._encoding.codec == "utf-8"
        kind = self._encoding.name.upper() if self._encoding.name.startswith("utf") else self._encoding.name
        code = "invalid_utf8" if utf8 else "invalid_encoding"
        before = error.object[: error.start].decode(self._encoding.codec, "replace")
        place = f"byte {base + error.start:,} (line {self._line_after(before):,})"
        if error.end == len(error.object) and error.reason.startswith(("unexpected end", "truncated", "incomplete")):
            raise FileError(
                f"Invalid {kind} at {place}: the file ends in the middle of a character. It seems to be cut off; "
                "upload it again in full.",
                code=code,
            ) from None
        advice = (
            "The file seems to be in another encoding: name it, such as encoding=windows-1252, or save it again as "
            "CSV UTF-8."
            if utf8
            else "Is this its encoding? Name another one by the option encoding, or save the file again as CSV UTF-8."
        )
        raise FileError(
            f"Invalid {kind} at {place}: the byte 0x{error.object[error.start]:02X} can't stand there. {advice}",
            code=code,
        ) from None

    def _line_after(self, before: str) -> int:
        return self.given + 1 + count_line_ends(self._rest + before)

    def _give(self, lines: list[str]) -> list[str]:
        self.given += len(lines)
        self._unfinished = self._unfinished + lines if self._unfinished else lines
        return lines

    def _forget_finished_rows(self) -> None:
        self._unfinished = self._unfinished[self._lines_finished() :]

    def _lines_finished(self) -> int:
        """How many of the unfinished lines belong to rows that have ended since."""
        if not self.row_began:
            return len(self._unfinished)
        return self.row_began - 1 - (self.given - len(self._unfinished))

    def _refuse_endless_row(self, delimiter: str) -> None:
        length = max(len(self._rest), sum(map(len, self._unfinished)))
        if length <= MAX_ROW:
            return
        if len(self._rest) > MAX_ROW and delimiter not in self._rest[-MAX_FIELD:]:
            raise field_too_large(self.given + 1)
        raise FileError(
            f"The row that starts on line {self.row_began or self.given + 1:,} is longer than {MAX_ROW >> 20} MB. "
            "Does the file have line ends, and is every quotation mark closed?",
            code="row_too_long",
        )


def field_too_large(line_number: int) -> FileError:
    """A cell of the row that starts on this line goes beyond `MAX_FIELD`."""
    return FileError(
        f"A cell of the row on line {line_number:,} is larger than {MAX_FIELD >> 20} MB. Shorten it, "
        "or leave its column out of the file.",
        code="field_too_large",
    )
