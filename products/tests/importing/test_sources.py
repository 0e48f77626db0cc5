"""Archives, workbooks and encodings: the same rows, whatever they come in."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from products.importing.errors import FileError
from products.importing.options import FileFormat
from products.importing.reader import Table, open_table
from products.tests.importing import archives

XLS = Path(__file__).parent / "corpora" / "products.xls"
CSV = 'sku,name\r\nA,Größe\r\nB,"1,5"\r\n'
ROWS = [(2, ["A", "Größe"]), (3, ["B", "1,5"])]
STEADY = hypothesis_settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table_of(data: bytes, **said: str) -> Table:
    return open_table(io.BytesIO(data), total_bytes=len(data), file_format=FileFormat(**said))


def error_of(data: bytes, **said: str) -> FileError:
    with pytest.raises(FileError) as caught:
        for _ in table_of(data, **said):
            pass
    return caught.value


def noise(length: int) -> str:
    """Text that can't be packed well."""
    return random.Random(7).randbytes(length // 2).hex()


# encodings


@pytest.mark.parametrize(
    ("codec", "origin"),
    [("utf-8-sig", "bom"), ("utf-16", "bom"), ("utf-32", "bom"), ("utf-16-le", "content"), ("cp1252", "guess")],
)
def test_it_reads_a_file_in_any_encoding_and_says_how_it_knew(codec: str, origin: str) -> None:
    table = table_of(CSV.encode(codec))

    assert (table.header, list(table)) == (["sku", "name"], ROWS)
    assert table.detected["encoding_from"] == origin
    assert table.encoding_guessed == (origin == "guess")


@STEADY
@given(
    codec=st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32", "cp1252", "iso8859-15", "cp850", "shift_jis"]),
    text=st.text(
        st.characters(codec="ascii", exclude_characters="\0\r\n,\"'") | st.sampled_from("äßé€œЖ漢𝄞"), max_size=30
    ),
    rows=st.integers(1, 30_000),
)
def test_what_is_declared_reads_back_whatever_was_written(codec: str, text: str, rows: int) -> None:
    name = text.encode(codec, "ignore").decode(codec).removeprefix("\ufeff")
    data = ("sku,name\n" + f"A,x{name}\n" * rows).encode(codec)

    found = list(table_of(data, encoding=codec))

    assert len(found) == rows
    assert {tuple(cells) for _, cells in found} == {("A", f"x{name}")}


@pytest.mark.parametrize(
    ("data", "said", "place"),
    [
        ("sku\nA\n".encode("utf-16") + b"B", {}, "Invalid UTF-16-LE at byte 14 (line 3): the file ends in the middle"),
        ("sku\nAB\n".encode("utf-16-be")[:-1], {}, "Invalid UTF-16-BE at byte 12 (line 2): the file ends in the middl"),
        ("sku\n".encode("utf-16") + b"\x00\xdcA\0", {}, "Invalid UTF-16-LE at byte 10 (line 2)"),
        (b"sku\nA\x81\n", {"encoding": "cp1252"}, "Invalid windows-1252 at byte 5 (line 2): the byte 0x81 can't"),
        (b"sku\n\x81", {"encoding": "shift_jis"}, "Invalid shift-jis at byte 4 (line 2): the file ends in the middle"),
    ],
)
def test_it_names_the_place_of_what_is_no_text_in_its_encoding(data: bytes, said: dict[str, str], place: str) -> None:
    error = error_of(data, **said)

    assert error.code == "invalid_encoding"
    assert error.detail.startswith(place)


def test_a_nul_in_utf16_is_found_at_its_place() -> None:
    error = error_of("sku,name\nA,b\0c\n".encode("utf-16"))

    assert error.code == "nul_byte"
    assert error.detail.startswith("Byte 26 (line 2)")


# archives


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(CSV.encode()),
        gzip.compress(CSV[:12].encode()) + gzip.compress(CSV[12:].encode()) + bytes(512),
        archives.zip_of({"products.csv": CSV.encode()}),
        archives.zip_of({"products.csv": CSV.encode()}, zipfile.ZIP_STORED),
        archives.zip_of({"data/": b"", "data/p.csv": CSV.encode(), "__MACOSX/data/._p.csv": b"?", "a/.DS_Store": b"?"}),
        archives.zip_of({"größe.txt": CSV.encode("utf-16")}),
    ],
)
def test_it_reads_the_file_within_an_archive(data: bytes) -> None:
    table = table_of(data)

    assert (table.header, list(table)) == (["sku", "name"], ROWS)
    assert table.detected["container"] in ("gzip", "zip")
    assert table.bytes_read == len(data)


def test_progress_counts_the_packed_bytes() -> None:
    text = ("sku,name\n" + "".join(f"{n},{noise(40)[n % 20 :]}{n * 7919 % 99991}\n" for n in range(60_000))).encode()
    for data in (gzip.compress(text), archives.zip_of({"p.csv": text})):
        table = table_of(data)
        at_first = table.bytes_read
        seen = {table.bytes_read for _ in table}

        assert 0 < at_first < len(data)
        assert len(seen) > 3
        assert max(seen) <= table.bytes_read == len(data)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"__MACOSX/a": b"?"}, "holds no file, and"),
        ({"a/": b""}, "holds no file, and"),
        ({"a.csv": b"sku\n", "b.csv": b"sku\n"}, "holds 2 files (“a.csv”, “b.csv”), and"),
        ({f"{n}.csv": b"" for n in range(30_000)}, "holds thousands of files"),
    ],
)
def test_an_archive_must_have_exactly_one_file(files: dict[str, bytes], says: str) -> None:
    error = error_of(archives.zip_of(files))

    assert error.code == "archive_files"
    assert says in error.detail


def test_an_encrypted_archive_is_refused() -> None:
    assert error_of(archives.ENCRYPTED_ZIP).code == "archive_encrypted"


def _spoilt(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


PACKED_GZIP = gzip.compress(("sku,name\n" + noise(9_000)).encode(), mtime=0)
PACKED_ZIP = archives.zip_of({"p.csv": ("sku,name\n" + noise(9_000)).encode()})


@pytest.mark.parametrize(
    "data",
    [
        PACKED_GZIP[:-9],
        PACKED_GZIP[:-1],
        PACKED_GZIP[:11],
        _spoilt(PACKED_GZIP, -6),
        PACKED_GZIP + b"more",
        b"\x1f\x8b\x09",
        PACKED_ZIP[:-30],
        PACKED_ZIP[:1_000],
        _spoilt(PACKED_ZIP, 2_000),
        _spoilt(PACKED_ZIP, PACKED_ZIP.index(b"PK\x01\x02") + 17),
        archives.zip_of({"p.csv": CSV.encode()}, zipfile.ZIP_BZIP2),
        b"PK\x03\x04",
    ],
)
def test_a_broken_archive_is_refused(data: bytes) -> None:
    assert error_of(data).code == "archive_broken"


@STEADY
@given(st.binary(min_size=1, max_size=8), st.integers(0, len(PACKED_ZIP) - 1))
def test_no_damage_of_an_archive_is_more_than_an_error_of_the_file(damage: bytes, at: int) -> None:
    for whole in (PACKED_ZIP, PACKED_GZIP):
        data = whole[: at % len(whole)] + damage + whole[at % len(whole) + len(damage) :]
        try:
            list(table_of(data))
        except FileError:
            pass


def _bomb(length: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = (b"A," + b"x" * 5_000 + b"\n") * 20
    data = packer.compress(b"sku,name\n") + b"".join(packer.compress(block) for _ in range(length // len(block)))
    return data + packer.flush()


def test_a_bomb_is_refused_soon_and_in_little_memory() -> None:
    data = _bomb(200 << 20)
    tracemalloc.start()

    error = error_of(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert error.code == "archive_too_large"
    assert "200 times" in error.detail
    assert peak < 20 << 20


def test_an_archive_unpacks_to_no_more_than_a_file_may_have(settings: Settings) -> None:
    settings.IMPORT_MAX_BYTES = 100_000
    data = gzip.compress(("sku,name\n" + "A,b\n" * 30_000).encode())

    error = error_of(data)

    assert error.code == "archive_too_large"
    assert "100,000 bytes" in error.detail


def test_a_zip_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(archives.zip_of({"p.csv": b"sku,name\n" + b"A,Lamp\n" * (2 << 20)}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 20)

    assert error_of(bytes(data)).code in ("archive_too_large", "archive_broken")


@pytest.mark.parametrize("inner", [gzip.compress(b"sku\n"), archives.xlsx([["sku"]]), XLS.read_bytes()])
def test_an_archive_within_an_archive_is_refused(inner: bytes) -> None:
    error = error_of(archives.zip_of({"inner": inner}))

    assert error.code == "not_text"
    assert "within an archive" in error.detail


def test_a_long_archive_is_read_in_the_memory_of_a_short_one() -> None:
    def peak_of(rows: int) -> int:
        data = gzip.compress(("sku,name\n" + f"A,{noise(2_000)}\n" * rows).encode())
        tracemalloc.start()
        for _ in table_of(data):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_of(8_000) < peak_of(1_000) + (1 << 20)


# workbooks


def test_the_cells_of_a_sheet_are_what_a_person_would_have_typed() -> None:
    data = archives.xlsx(
        [
            ["sku", "text", "number", "formula", "truth", "date", "at", "time", "none"],
            [5, "007", 0.1 + 0.2, "=1+1|2", True, archives.date(45_000), archives.date_and_time(45_000.5), None],
            None,
            [4006381333931, " a\nb ", 1e21, "=A1|0.5", False, None, None, archives.time(0.75), None],
            [-3, None, 1e-7],
            [None, ""],
        ]
    )

    table = table_of(data)

    assert table.header_line == 1
    assert list(table) == [
        (2, ["5", "007", "0.3", "2", "TRUE", "2023-03-15", "2023-03-15 12:00:00", "", ""]),
        (4, ["4006381333931", " a\nb ", "1000000000000000000000", "0.5", "FALSE", "", "", "18:00:00", ""]),
        (5, ["-3", "", "0.0000001", "", "", "", "", "", ""]),
    ]
    assert table.detected == {"container": "xlsx", "sheet": "Sheet1", "sheets": ["Sheet1"], "header_line": 1}


def test_the_old_format_of_excel_and_that_of_libreoffice_are_read_too() -> None:
    xls, ods = table_of(XLS.read_bytes()), table_of(archives.ods(["sku", "name"], ["A", "Größe"]))

    assert list(xls) == [(2, ["A-1", "Lämp", "5", "2024-05-01"]), (3, ["17", "Chair", "2.5", "2024-05-02"])]
    assert list(ods) == [(2, ["A", "Größe"])]
    assert (xls.detected["container"], ods.detected["container"]) == ("xls", "ods")


def test_the_first_sheet_that_can_be_seen_is_read_unless_another_one_is_named() -> None:
    data = archives.xlsx([["hidden"]], [["sku"], ["A"]], [["sku"], ["B"]], hidden=1)

    assert list(table_of(data)) == [(2, ["A"])]
    assert list(table_of(data, sheet="Sheet3")) == [(2, ["B"])]
    error = error_of(data, sheet="Prices")
    assert error.code == "sheet_unknown"
    assert "“Sheet1”, “Sheet2”, “Sheet3”" in error.detail


def test_a_sheet_may_have_a_title_and_begin_anywhere() -> None:
    data = archives.xlsx([None, ["Products of 2026"], None, [None, "sku", "name"], [None, "A", "one"], [None, "B"]])

    table = table_of(data)

    assert list(table) == [(5, ["", "A", "one"]), (6, ["", "B", ""])]
    assert (table.header, table.header_line) == (["", "sku", "name"], 4)


def test_the_header_line_of_a_sheet_can_be_declared() -> None:
    data = archives.xlsx([["sku", "name"], ["sku", "price"], ["A", 1]])

    table = open_table(io.BytesIO(data), total_bytes=len(data), file_format=FileFormat(header_line=2))

    assert (table.header, list(table)) == (["sku", "price"], [(3, ["A", "1"])])


def test_surplus_cells_of_a_sheet_are_not_lost() -> None:
    assert list(table_of(archives.xlsx([["sku", "name"], ["A", "b", None, "c"]]))) == [(2, ["A", "b", "", "c"])]


def test_an_empty_sheet_is_an_empty_file() -> None:
    error = error_of(archives.xlsx([]))

    assert error.code == "file_empty"
    assert "“Sheet1”" in error.detail


@pytest.mark.parametrize(
    "data",
    [
        XLS.read_bytes()[:600],
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        archives.zip_of({"xl/workbook.xml": b"<workbook"}),
        archives.zip_of({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b"<"}),
    ],
)
def test_a_broken_workbook_is_refused(data: bytes) -> None:
    assert error_of(data).code == "workbook_unreadable"


def test_a_workbook_with_a_password_is_named_so() -> None:
    # As Excel does it: the encrypted workbook lies in a container of the old format.
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le")

    assert "password" in error_of(data).detail


def test_a_small_workbook_that_claims_all_memory_is_refused() -> None:
    error = error_of(archives.xlsx([["sku"], *([None] * 900_000), ["A"] * 2_000]))

    assert error.code == "workbook_too_large"
    assert "CSV" in error.detail


def test_a_workbook_beyond_the_limit_is_refused_unread() -> None:
    class Unread(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and 0 <= size <= 1 << 16
            return super().read(size)

    stream: BinaryIO = Unread(XLS.read_bytes())

    with pytest.raises(FileError) as caught:
        open_table(stream, total_bytes=200 << 20)

    assert caught.value.code == "workbook_too_large"


def test_progress_in_a_sheet_counts_its_rows() -> None:
    data = archives.xlsx([["sku", "name"], *[(n, "Lamp") for n in range(5_000)]])

    table = table_of(data)
    seen = {table.bytes_read for _ in table}

    assert len(seen) > 100
    assert max(seen) <= table.bytes_read == len(data)


def test_a_sheet_that_is_not_read_to_its_end_leaves_no_process() -> None:
    table = table_of(archives.xlsx([["sku", "name"], *[(n, "Lamp" * 99) for n in range(20_000)]]))
    process = table._source._process  # type: ignore[union-attr]
    assert process.poll() is None

    table.close()

    assert process.poll() is not None
