"""Bytes to lines: UTF-8, in constant memory, and every complaint with its place."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from products.importing.errors import FileError

BLOCK_BYTES = 1 << 18
"""Read at a time. Larger blocks are no faster, and cost memory."""
READ_AHEAD = 2 * BLOCK_BYTES
"""By so many bytes what is taken from the file may be ahead of the rows: the block at hand and the one after it."""
HEAD_BYTES = 1 << 16
"""What the delimiter and the kind of file are judged by."""
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

    def __init__(self, stream: BinaryIO) -> None:
        self.bytes_read = 0
        self.row_began = 0
        """Line on which the row began that goes on over the next lines, 0 between rows. The reader
        keeps it."""
        self.given = 0
        """Lines that the reader has been given."""
        self._stream = stream
        self._unfinished: list[str] = []
        self._rest = ""
        self._decoded = 0
        self.head = self._read_head()

    def unfinished_row(self) -> str:
        """The text from the beginning of the row at hand, as far as the reader has been given it."""
        return "".join(self._unfinished[self._lines_finished() :])

    def sample(self) -> str:
        """The whole lines at the beginning of the file; a mistake in the text is not yet an error."""
        text = self.head.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
        if len(self.head) < HEAD_BYTES:
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

    def _read_head(self) -> bytes:
        head = b""
        while len(head) < HEAD_BYTES and (more := self._stream.read(HEAD_BYTES - len(head))):
            head += more
        self.bytes_read = len(head)
        return head

    def _texts(self) -> Iterator[str]:
        data = self.head
        if data.startswith(codecs.BOM_UTF8):
            self._decoded = len(codecs.BOM_UTF8)
            data = data[self._decoded :]
        while True:
            more = self._stream.read(BLOCK_BYTES)
            self.bytes_read += len(more)
            text, used = self._decode(data, final=not more)
            yield text
            if not more:
                return
            data = data[used:] + more

    def _decode(self, data: bytes, *, final: bool) -> tuple[str, int]:
        nul = data.find(0)
        if nul >= 0:
            line = self._line_at(data[:nul])
            raise FileError(
                f"Byte {self._decoded + nul:,} (line {line:,}) is a NUL, which no text has: this is not a text file, "
                "or it is damaged. Export it again as CSV UTF-8.",
                code="nul_byte",
            )
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError as error:
            self._refuse_bytes(data, error)
        self._decoded += used
        return text, used

    def _refuse_bytes(self, data: bytes, error: UnicodeDecodeError) -> NoReturn:
        place = f"byte {self._decoded + error.start:,} (line {self._line_at(data[: error.start]):,})"
        if error.reason == "unexpected end of data" and error.end == len(data):
            raise FileError(
                f"Invalid UTF-8 at {place}: the file ends in the middle of a character. It seems to be cut off; "
                "upload it again in full.",
                code="invalid_utf8",
            ) from None
        raise FileError(
            f"Invalid UTF-8 at {place}: the byte 0x{data[error.start]:02X} can't stand there. The file seems to be "
            "in another encoding, such as Windows-1252; save it again as CSV UTF-8.",
            code="invalid_utf8",
        ) from None

    def _line_at(self, before: bytes) -> int:
        return self.given + 1 + count_line_ends(self._rest + before.decode(errors="replace"))

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
