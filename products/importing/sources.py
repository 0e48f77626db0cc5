"""The stored file to what is in it: its text, unpacked on the way if need be, or the rows of a workbook's sheet."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from django.conf import settings

from products.importing.errors import FileError

HEAD_BYTES = 1 << 16
"""What the kind of file, its encoding and its dialect are judged by."""
PACKED_BLOCK = 1 << 16
"""Bytes of an archive that are taken at a time."""
MAX_RATIO = 200
"""So many times its size an archive may unpack to. Product files reach 10 to 40; bombs go to 1,000."""
RATIO_COUNTS_FROM = 10 << 20
"""Bytes from which the ratio counts: what is smaller does no harm."""
MAX_DIRECTORY = 1 << 20
"""Bytes of a zip archive's directory, some 10,000 files. It is read in memory."""
MAX_WORKBOOK = 50 << 20
"""Bytes of a workbook. It is unpacked in memory as a whole, by a process of its own whose memory is bounded
(see `sheet_process`); this bounds what is handed to it."""

_GZIP, _ZIP, _OLE = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SHEET_PROCESS = Path(__file__).with_name("sheet_process.py")
_ONE_FILE = "Pack the one file that is to be imported, or upload it as it is."


class Bytes(Protocol):
    """What bytes are taken from. Gives fewer than asked for when it likes, and none at the end."""

    def read(self, size: int, /) -> bytes: ...


class Text:
    """The bytes of a text, and where they come from."""

    def __init__(
        self, contents: Bytes, *, total_bytes: int, found: dict[str, Any], place: Callable[[], int] | None = None
    ) -> None:
        self.head = read_head(contents)
        """The first bytes, which `read` goes on from."""
        self.found = found
        """For `Import.detected`: the container and the name of the file in it, if there is one."""
        self._contents = contents
        self._total_bytes = total_bytes
        self._place = place
        self._given = len(self.head)
        self._ended = False

    @property
    def bytes_taken(self) -> int:
        """Of the stored file, which may be packed."""
        if self._place:
            return self._total_bytes if self._ended else self._place()
        return self._given

    def read(self, size: int) -> bytes:
        data = self._contents.read(size)
        self._given += len(data)
        self._ended = not data
        return data

    def close(self) -> None:
        """There is nothing to be closed: the stored file is its opener's."""


class Sheet:
    """The rows of a workbook's sheet, by a process of its own. Iterate once, then `close`.

    Raises FileError where the workbook can't be read.
    """

    def __init__(self, stream: BinaryIO, *, total_bytes: int, sheet: str | None) -> None:
        if total_bytes > MAX_WORKBOOK:
            raise _workbook_too_large(f"it has {total_bytes:,} bytes, and at most {MAX_WORKBOOK:,} are read")
        self._total_bytes = total_bytes
        with _as_system_file(stream) as file:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_SHEET_PROCESS), *([sheet] if sheet else [])],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        try:
            opened = self._receive()
        except BaseException:
            self.close()
            raise
        self.found = {key: opened[key] for key in ("container", "sheet", "sheets")}
        """For `Import.detected`."""
        self._rows_total: int = max(opened["rows"], 1)
        self._rows_given = 0

    @property
    def bytes_taken(self) -> int:
        """Of the stored file, by the share of its rows."""
        share = min(self._rows_given / self._rows_total, 1)
        return int(self._total_bytes * share)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """(number of the sheet's row, its cells up to the last that is not empty) of each row that has any."""
        while rows := self._receive():
            for number, cells in rows:
                self._rows_given = number
                yield number, cells
        self._rows_given = self._rows_total
        self.close()

    def close(self) -> None:
        """End the process, if it has not ended."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _receive(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line.endswith(b"\n"):
            raise _workbook_too_large("reading it takes more memory or time than a file may have")
        message = json.loads(line)
        if isinstance(message, dict) and "error" in message:
            raise FileError(message["detail"], code=message["error"])
        return message


@contextmanager
def _as_system_file(stream: BinaryIO) -> Iterator[int]:
    """The descriptor of a file with this content, at its beginning: its own or, where it has none, a copy's."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):
        with tempfile.TemporaryFile() as copy:
            stream.seek(0)
            shutil.copyfileobj(stream, copy)
            copy.seek(0)
            yield copy.fileno()
        return
    os.lseek(descriptor, 0, os.SEEK_SET)  # what `seek` only does where its buffer is not enough
    yield descriptor


def open_source(stream: BinaryIO, *, total_bytes: int, sheet: str | None = None) -> Text | Sheet:
    """What the stored file holds. Raises FileError where it is a broken, encrypted or ambiguous archive or workbook."""
    head = read_head(stream)
    if head.startswith(_GZIP):
        return _text_of_gzip(_Begun(head, stream), total_bytes)
    if head.startswith(_ZIP):
        return _contents_of_zip(stream, total_bytes, sheet)
    if head.startswith(_OLE):
        return Sheet(stream, total_bytes=total_bytes, sheet=sheet)
    return Text(_Begun(head, stream), total_bytes=total_bytes, found={})


def read_head(contents: Bytes) -> bytes:
    """The first HEAD_BYTES, or all there are."""
    head = b""
    while len(head) < HEAD_BYTES and (more := contents.read(HEAD_BYTES - len(head))):
        head += more
    return head


# --- archives ----------------------------------------------------------------------------------


class _Inflated:
    """What a gzip file, or a file within a zip archive, unpacks to. Constant memory; raises FileError."""

    def __init__(self, packed: Bytes, window_bits: int) -> None:
        self.bytes_given = 0
        self.checksum = 0
        self._packed = packed
        self._bits = window_bits
        self._inflater = zlib.decompressobj(window_bits)
        self._waiting = b""
        self._bytes_taken = 0
        self._done = False

    def read(self, size: int) -> bytes:
        while not self._done:
            if not self._waiting:
                self._waiting = self._take()
            exhausted = not self._waiting
            try:
                data = self._inflater.decompress(self._waiting, size)
            except zlib.error:
                raise _broken("its data can't be unpacked") from None
            self._waiting = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self._end_member()
            if data:
                self._count(data)
                return data
            if exhausted and not self._done:
                raise _broken("it is cut off")
        return b""

    def _take(self) -> bytes:
        data = self._packed.read(PACKED_BLOCK)
        self._bytes_taken += len(data)
        return data

    def _end_member(self) -> None:
        """The compressed data has ended; a gzip file may have more of it after that."""
        following = self._inflater.unused_data
        self._done = True
        if self._bits < 0:
            return
        while not following.strip(b"\0"):  # the padding of tapes and blocks
            following = self._take()
            if not following:
                return
        if not following.startswith(_GZIP[: len(following)]):
            raise _broken("something else follows its data")
        self._done = False
        self._inflater = zlib.decompressobj(self._bits)
        self._waiting = following

    def _count(self, data: bytes) -> None:
        self.bytes_given += len(data)
        if self._bits < 0:
            self.checksum = zlib.crc32(data, self.checksum)
        if self.bytes_given > settings.IMPORT_MAX_BYTES:
            _refuse_bomb(f"more than the {settings.IMPORT_MAX_BYTES:,} bytes that a file may have")
        if self.bytes_given > max(RATIO_COUNTS_FROM, MAX_RATIO * self._bytes_taken):
            _refuse_bomb(f"more than {MAX_RATIO} times its own size, which no product file does")


class _Member:
    """The file within a zip archive, checked against what its directory says."""

    def __init__(self, contents: _Inflated | _Stored, info: zipfile.ZipInfo) -> None:
        self._contents = contents
        self._info = info

    def read(self, size: int) -> bytes:
        data = self._contents.read(size)
        if self._contents.bytes_given > self._info.file_size:
            raise _broken("a file is larger than its directory says")
        complete = self._contents.bytes_given == self._info.file_size and self._contents.checksum == self._info.CRC
        if not data and not complete:
            raise _broken("its checksum is wrong")
        return data


class _Window:
    """Some of the bytes of a file, from where it stands."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


class _Stored:
    """A file that lies in a zip archive as it is."""

    def __init__(self, packed: Bytes) -> None:
        self.bytes_given = 0
        self.checksum = 0
        self._packed = packed

    def read(self, size: int) -> bytes:
        data = self._packed.read(size)
        self.bytes_given += len(data)
        self.checksum = zlib.crc32(data, self.checksum)
        return data


class _Begun:
    """A file whose first bytes were taken already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self.bytes_taken = 0
        self._head = head
        self._stream = stream

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._stream.read(size)
        self.bytes_taken += len(data)
        return data


def _text_of_gzip(packed: _Begun, total_bytes: int) -> Text:
    contents = _Inflated(packed, zlib.MAX_WBITS | 16)
    return Text(contents, total_bytes=total_bytes, found={"container": "gzip"}, place=lambda: packed.bytes_taken)


def _contents_of_zip(stream: BinaryIO, total_bytes: int, sheet: str | None) -> Text | Sheet:
    _refuse_huge_directory(stream, total_bytes)
    stream.seek(0)
    try:
        infos = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error):
        raise _broken("its directory is missing, as when it is cut off") from None
    names = {info.filename for info in infos}
    if names & {"xl/workbook.xml", "xl/workbook.bin"} or {"content.xml", "mimetype"} <= names:
        return Sheet(stream, total_bytes=total_bytes, sheet=sheet)
    return _text_of_zip(stream, _only_file(infos), total_bytes)


def _only_file(infos: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    files = [info for info in infos if not info.is_dir() and not _of_the_system(info.filename)]
    if len(files) != 1:
        listed = ", ".join(f"“{info.filename[:60]}”" for info in files[:5]) + (" ..." if len(files) > 5 else "")
        holds = f"{len(files):,} files ({listed})" if files else "no file"
        raise FileError(f"The zip archive holds {holds}, and exactly one is needed. {_ONE_FILE}", code="archive_files")
    info = files[0]
    if info.flag_bits & 0x1:
        raise FileError(
            f"“{info.filename[:60]}” in the zip archive is encrypted. Pack it without a password.",
            code="archive_encrypted",
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _broken("it is packed by a rare method; only the usual one, deflate, is read")
    return info


def _of_the_system(name: str) -> bool:
    """What a Mac adds to the archives that it makes, unseen."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def _text_of_zip(stream: BinaryIO, info: zipfile.ZipInfo, total_bytes: int) -> Text:
    stream.seek(info.header_offset)
    header = stream.read(30)  # of the file itself: its fields differ in length from those in the directory
    if len(header) < 30 or not header.startswith(_ZIP):
        raise _broken("its directory does not match its files")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    stream.seek(info.header_offset + 30 + name_length + extra_length)
    window = _Window(stream, info.compress_size)
    packed = info.compress_type == zipfile.ZIP_DEFLATED
    contents = _Member(_Inflated(window, -zlib.MAX_WBITS) if packed else _Stored(window), info)
    found = {"container": "zip", "file": info.filename[:255]}
    return Text(contents, total_bytes=total_bytes, found=found, place=stream.tell)


def _refuse_huge_directory(stream: BinaryIO, total_bytes: int) -> None:
    """By the record at the end of the archive, since the whole directory is read in memory.
    See APPNOTE.TXT of PKWARE, 4.3.14 to 4.3.16."""
    stream.seek(max(0, total_bytes - 22 - 0xFFFF - 20))
    tail = stream.read(22 + 0xFFFF + 20)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 16:
        return  # zipfile says so
    size = struct.unpack("<I", tail[at + 12 : at + 16])[0]
    if at >= 20 and tail.startswith(b"PK\x06\x07", at - 20):
        stream.seek(min(struct.unpack("<Q", tail[at - 12 : at - 4])[0], total_bytes))
        record = stream.read(48)
        if record.startswith(b"PK\x06\x06") and len(record) == 48:
            size = struct.unpack("<Q", record[40:48])[0]
    if size > MAX_DIRECTORY:
        raise FileError(f"The zip archive holds thousands of files. {_ONE_FILE}", code="archive_files")


def _broken(why: str) -> FileError:
    return FileError(
        f"The archive can't be unpacked: {why}. Pack it again, or upload the file as it is.", code="archive_broken"
    )


def _refuse_bomb(why: str) -> NoReturn:
    raise FileError(
        f"The archive unpacks to {why}. Upload the file itself, in parts if it is so large.", code="archive_too_large"
    )


def _workbook_too_large(why: str) -> FileError:
    return FileError(
        f"The workbook is too large: {why}. Save the sheet as CSV UTF-8 and upload that, which may be of any size.",
        code="workbook_too_large",
    )
