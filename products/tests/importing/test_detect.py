from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from products.importing.detect import find_delimiter, refuse_what_is_not_text
from products.importing.errors import FileError
from products.importing.reader import open_reader


def zip_of(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, "sku,name\n")
    return data.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "text",
    [
        "sku;name\nA;one\n",
        "sku;name",
        '"sku";"name, long | short";"status"\n"A";"1,5";"active"\n',
        "\n\nSKU;Title;Price\nA;one;1\n",
        "sku;note, with commas, many, of, them\nA;b\n",
        'sku;name\nA;"1,2\n3,4"\nB;"5,6',
        "sku;\nA;\n",
        'sku;"name\nA;one\n',
    ],
)
def test_it_finds_the_delimiter(text: str, delimiter: str) -> None:
    swapped = text.replace(",", "\0").replace(";", delimiter).replace("\0", ";" if delimiter == "," else ",")

    assert find_delimiter(swapped) == delimiter


def test_it_looks_at_the_rows_when_no_header_is_known() -> None:
    assert find_delimiter("a, b;c\n1;2\n3;4\n") == ";"


@pytest.mark.parametrize("text", ["", "\n\n", "sku\nA;1\nB;2\n", "sku", "x\n"])
def test_it_takes_the_comma_when_nothing_tells(text: str) -> None:
    assert find_delimiter(text) == ","


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (zip_of("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (xlsx)"),
        (zip_of("products.csv"), "a zip archive"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "OpenDocument"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"GIF89a\x01\0\x01\0", "a GIF picture"),
        (gzip.compress(b"sku,name\n"), "a gzip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20), "an old Excel workbook (xls)"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        ("sku,name\n".encode("utf-16"), "UTF-16"),
        ("sku,name\n".encode("utf-16-le"), "UTF-16"),
        ("sku,name\n".encode("utf-16-be"), "UTF-16"),
        ("sku,name\n".encode("utf-32"), "UTF-32"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_it_says_what_a_file_is_that_is_no_text(data: bytes, kind: str) -> None:
    with pytest.raises(FileError) as caught:
        open_reader(io.BytesIO(data), total_bytes=len(data))

    assert caught.value.code == "not_text"
    assert f"The file is {kind}" in caught.value.detail or kind in caught.value.detail


@pytest.mark.parametrize("data", [b"sku,name\nA,one\n", b"PK,sku\n", b"GIF,sku\n", "größe,sku\n".encode(), b"x"])
def test_it_lets_text_pass(data: bytes) -> None:
    refuse_what_is_not_text(data)
