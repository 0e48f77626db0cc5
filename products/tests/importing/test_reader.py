from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from products.importing.errors import FileError
from products.importing.lines import BLOCK_BYTES, HEAD_BYTES, MAX_FIELD, MAX_ROW, count_line_ends
from products.importing.reader import Reader, open_reader

CORPUS = Path(__file__).parent / "corpora" / "csv-spectrum"

# The same examples in every run, and no complaint about a busy machine.
STEADY = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reader_of(data: bytes) -> Reader:
    return open_reader(io.BytesIO(data), total_bytes=len(data))


def rows_of(data: bytes) -> list[tuple[int, list[str]]]:
    return list(reader_of(data))


def error_of(data: bytes) -> FileError:
    with pytest.raises(FileError) as caught:
        rows_of(data)
    return caught.value


class Repeated(io.RawIOBase):
    """A file of any length that takes no memory: a beginning, then the same bytes over and over."""

    def __init__(self, beginning: bytes, again: bytes, length: int) -> None:
        self.left = length - len(beginning)
        self.beginning = beginning
        self.block = again * (BLOCK_BYTES // len(again))
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        if self.beginning:
            data, self.beginning = self.beginning, b""
        else:
            data = self.block[: min(size, self.left) // 2 * 2]
            self.left -= len(data)
        self.given += len(data)
        return data


class Dripping(io.BytesIO):
    """A stream that never gives more than a few bytes at a time, as a network may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(7, size) if size and size > 0 else 7)


# rows and line numbers


def test_it_gives_each_row_with_the_line_that_an_editor_shows() -> None:
    data = b'sku,name\nA,one\n\n\nB,"two\nlines"\nC,three\n'

    assert rows_of(data) == [(2, ["A", "one"]), (5, ["B", "two\nlines"]), (7, ["C", "three"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_it_counts_each_kind_of_line_end_also_inside_of_quotes(end: str) -> None:
    text = end.join(["", "sku,name", f'A,"x{end}{end}y"', "", "B,z", ""])

    assert rows_of(text.encode()) == [(3, ["A", f"x{end}{end}y"]), (7, ["B", "z"])]


def test_it_reads_a_last_line_without_an_end() -> None:
    assert rows_of(b"sku,name\nA,one") == [(2, ["A", "one"])]


def test_it_keeps_other_separators_of_unicode_inside_of_the_cell() -> None:
    text = "sku,name\nA,one\u2028two\x0bthree\x85four\nB,five\n"

    assert rows_of(text.encode()) == [(2, ["A", "one\u2028two\x0bthree\x85four"]), (3, ["B", "five"])]


def test_it_takes_a_quotation_mark_inside_of_an_unquoted_cell_as_text() -> None:
    assert rows_of(b'sku,name\nA,5" pipe\n') == [(2, ["A", '5" pipe'])]


@pytest.mark.parametrize("marks", [1, 2])
def test_it_reads_a_file_with_a_byte_order_mark(marks: int) -> None:
    reader = reader_of(b"\xef\xbb\xbf" * marks + b'"sku",name\nA,one\n')

    assert reader.header == ["sku", "name"]
    assert list(reader) == [(2, ["A", "one"])]


def test_it_reads_a_file_that_has_only_skus() -> None:
    assert rows_of(b"sku\r\nA\r\n\r\nB\r\n") == [(2, ["A"]), (4, ["B"])]


def test_it_reads_a_file_without_rows() -> None:
    assert rows_of(b"sku,name\n") == []


def test_it_takes_a_line_of_delimiters_for_a_row() -> None:
    assert rows_of(b"sku,name\n,\n") == [(2, ["", ""])]


def test_it_reads_a_stream_that_gives_a_few_bytes_at_a_time() -> None:
    data = 'sku,name\r\nÄ,"ü\r\n𝄞"\r\nB,ß\r\n'.encode()

    rows = list(open_reader(cast("BinaryIO", Dripping(data)), total_bytes=len(data)))

    assert rows == [(2, ["Ä", "ü\r\n𝄞"]), (4, ["B", "ß"])]


@pytest.mark.parametrize("shift", range(6))
def test_it_joins_what_the_end_of_a_block_parts(shift: int) -> None:
    filler = "x" * (HEAD_BYTES - len("sku,name\r\nA,\r\n") - shift)
    text = f'sku,name\r\nA,{filler}\r\nÄ,"𝄞\r\n"\r\nC,c\r\n'

    assert rows_of(text.encode()) == [(2, ["A", filler]), (3, ["Ä", "𝄞\r\n"]), (5, ["C", "c"])]


def test_it_tells_how_many_bytes_it_has_read() -> None:
    data = b"sku,name\n" + b"A,one\n" * 200_000

    reader = reader_of(data)
    at_first = reader.bytes_read
    rows = sum(1 for _ in reader)

    assert rows == 200_000
    assert at_first < len(data)
    assert reader.bytes_read == len(data)


def test_it_names_the_columns_that_it_leaves_out() -> None:
    reader = reader_of(b"Price,SKU, Weight ,\n1,A,2,\n")

    assert reader.ignored_columns == ["Price", "Weight", "(column 4)"]
    assert reader.layout.positions == {"sku": 1}


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("\",;\t|\r\n '\\"), max_size=12)


@settings(STEADY, max_examples=200)
@given(
    rows=st.integers(2, 5).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8)),
    delimiter=st.sampled_from(",;\t|"),
    # With other line ends the writer leaves a lone CR or LF unquoted where only what must be is quoted.
    style=st.sampled_from(
        [("\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]
    ),
)
def test_it_reads_back_whatever_the_csv_module_writes(
    rows: list[list[str]], delimiter: str, style: tuple[str, int]
) -> None:
    header = ["sku", "name", "description", "status", "price"][: len(rows[0]) if rows else 2]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=style[0], quoting=style[1])
    expected = []
    for row in [header, *rows]:
        expected.append((count_line_ends(text.getvalue()) + 1, row))
        writer.writerow(row)

    reader = reader_of(text.getvalue().encode())

    assert (1, reader.header) == expected[0]
    assert list(reader) == expected[1:]


@settings(STEADY, max_examples=500)
@given(st.text(st.sampled_from('ab ",\r\n'), max_size=40))
def test_it_reads_any_text_as_the_strict_csv_module_does(text: str) -> None:
    whole = "sku,name\n" + text
    expected: list[list[str]] | None
    try:
        expected = [row for row in csv.reader(io.StringIO(whole, newline=""), strict=True) if row][1:]
    except csv.Error:
        expected = None

    found: list[list[str]] | None
    try:
        found = [values for _, values in rows_of(whole.encode())]
    except FileError as error:
        assert error.code in {"quote_not_closed", "quote_misplaced"}
        found = None

    assert found == expected


@pytest.mark.parametrize("name", sorted(path.stem for path in (CORPUS / "csvs").glob("*.csv")))
def test_it_reads_the_csv_spectrum_as_its_json_says(name: str) -> None:
    expected = json.loads((CORPUS / "json" / f"{name}.json").read_text(encoding="utf-8"))
    data = (CORPUS / "csvs" / f"{name}.csv").read_bytes()

    reader = reader_of(b"sku" + data[data.index(b",") :])  # their first header is no column of a product

    assert reader.header[1:] == list(expected[0])[1:]
    assert [values for _, values in reader] == [list(row.values()) for row in expected]


# files that can't be read


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_it_refuses_an_empty_file(data: bytes) -> None:
    error = error_of(data)

    assert error.code == "file_empty"
    assert "empty" in error.detail


@pytest.mark.parametrize("data", [b"\n\r\n\n", b",,\nA,B,C\n", b'""\n', b"  \nA\n"])
def test_it_refuses_a_file_without_a_header(data: bytes) -> None:
    error = error_of(data)

    assert error.code == "header_missing"
    assert "sku,name,description,status" in error.detail


def test_it_lists_the_headers_it_found_and_the_names_it_knows_when_there_is_no_sku() -> None:
    error = error_of(b"\nName,Price\nLamp,3\n")

    assert error.code == "sku_column_missing"
    assert "line 2" in error.detail
    assert "“Name”, “Price”" in error.detail
    assert "article number" in error.detail


def test_it_names_both_headers_that_mean_the_same_column() -> None:
    error = error_of(b"Article Number,name,SKU\n")

    assert error.code == "column_repeated"
    assert "“Article Number” (column 1) and “SKU” (column 3)" in error.detail


def test_it_refuses_more_columns_than_a_thousand() -> None:
    assert reader_of(b"sku" + b",x" * 999 + b"\n").layout.positions == {"sku": 0}

    error = error_of(b"sku" + b",x" * 1000 + b"\n")

    assert error.code == "too_many_columns"
    assert "1,001 columns" in error.detail


@pytest.mark.parametrize("before", ["sku,name\nÄ,".encode() * 8_000, b"sku,name\n" + b"B,long\n" * 100_000 + b"A,"])
def test_it_names_the_byte_and_the_line_that_is_not_utf8_where_the_beginning_is(before: bytes) -> None:
    error = error_of(before + "größe".encode("latin-1") + b"\nC,c\n")

    assert error.code == "invalid_utf8"
    assert f"byte {len(before) + 2:,} (line {before.count(10) + 1:,})" in error.detail
    assert "0xF6" in error.detail
    assert "encoding=windows-1252" in error.detail


def test_it_counts_the_bytes_of_the_byte_order_mark() -> None:
    assert "byte 12 (line 2)" in error_of(b"\xef\xbb\xbfsku,name\n\xffA\n").detail


def test_it_tells_when_the_file_ends_within_a_character() -> None:
    data = "sku,name\nA,€".encode()

    error = error_of(data[:-1])

    assert error.code == "invalid_utf8"
    assert "byte 11 (line 2)" in error.detail
    assert "cut off" in error.detail


@pytest.mark.parametrize("before", [b"sku,name\nA,", b"sku,name\n" + b"B,long\n" * 100_000 + b"A,"])
def test_it_names_the_place_of_a_nul_byte(before: bytes) -> None:
    error = error_of(before + b"x\0y\n")

    assert error.code == "nul_byte"
    assert f"Byte {len(before) + 1:,} (line {before.count(10) + 1:,})" in error.detail


@pytest.mark.parametrize(
    ("data", "opened"),
    [
        (b'sku,name\nA,one\nB,"two\nC,three\n', 3),
        (b'sku,name\nA,"one\nB,"two"\nC,three\n', 2),
        (b'sku,name,status\n"A\n\n","one""\n\n",x\n"B",two,"\nC,three\n', 7),
        (b'sku,name\n"A\nB","one\n', 3),
        (b'sku,"name\nA,one\n', 1),
        (b'sku,name\nA,one\nB,"two\n' + b"C,three\n" * 500_000, 3),
        (b"sku,name\n" + b"C,three\n" * 50_000 + b'B,"two\n' + b"C,three\n" * 500_000, 50_002),
    ],
)
def test_it_names_the_line_where_a_quote_opens_that_is_never_closed(data: bytes, opened: int) -> None:
    error = error_of(data)

    assert error.code == "quote_not_closed"
    assert f"on line {opened:,} and is not closed" in error.detail


def test_it_refuses_text_after_a_closing_quote() -> None:
    error = error_of(b'sku,name\nA,one\nB,"5" pipe"\n')

    assert error.code == "quote_misplaced"
    assert error.detail.startswith("Line 3:")


@pytest.mark.parametrize("cell", [b"x" * MAX_FIELD, b'"' + b"x" * MAX_FIELD + b'"'])
def test_it_takes_a_cell_of_a_megabyte_and_refuses_a_larger_one(cell: bytes) -> None:
    head = b"sku,name\nA,one\n"
    assert len(rows_of(head + b"B," + cell + b"\n")[1][1][1]) == MAX_FIELD

    error = error_of(head + b"B," + cell.replace(b"x", b"xx", 1) + b"\n")

    assert error.code == "field_too_large"
    assert "line 3" in error.detail


@pytest.mark.parametrize(
    ("beginning", "again", "code"),
    [
        (b"sku,name\nA,one\nB,", b"x,", "row_too_long"),
        (b"sku,name\nA,one\nB,", b"xx", "field_too_large"),
        (b'sku,name\nA,one\nB,"', b"x\n", "quote_not_closed"),
        (b'sku,name\nA,one\nB,"', b"x,", "row_too_long"),
        (b'sku,name\nA,one\nB,"\n', b'","\n', "row_too_long"),
    ],
)
def test_it_soon_gives_up_a_huge_file_whose_row_never_ends(beginning: bytes, again: bytes, code: str) -> None:
    file = Repeated(beginning, again, 5 << 30)
    tracemalloc.start()

    with pytest.raises(FileError) as caught:
        list(open_reader(cast("BinaryIO", file), total_bytes=5 << 30))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert caught.value.code == code
    assert "line 3" in caught.value.detail
    assert file.given < MAX_ROW + 4 * BLOCK_BYTES
    assert peak < 100 << 20


def test_it_reads_a_long_file_in_the_memory_of_a_short_one() -> None:
    def peak_of(length: int) -> int:
        file = Repeated(b"sku,name\n", b'A,"x"\nB,y\n' + b"C," + b"z" * 180 + b"\n", length)
        tracemalloc.start()
        for _ in open_reader(cast("BinaryIO", file), total_bytes=length):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_of(8 << 20) < peak_of(1 << 20) + (1 << 20)
