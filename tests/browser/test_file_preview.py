"""What the browser makes of a file's beginning, held against what the server makes of it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from products.importing import columns
from products.importing.detect import find_dialect, find_encoding
from products.tests.importing.test_detect import TEXTS

pytestmark = pytest.mark.django_db(transaction=True)

CORPUS = Path(__file__).resolve().parents[2] / "products" / "tests" / "importing" / "corpora" / "csv-spectrum"
FIND = """
const { fold, columnName, fillRates, mappingProblems } = await import("/static/products/column-mapping.js");
const { kindOf, guessEncoding, preview, readHead } = await import("/static/products/file-preview.js");
const { findDialect } = await import("/static/products/dialect.js");
const { Sha256 } = await import("/static/products/sha256.js");
const find = (header) => told.by_header[fold(header)] ?? "";
const bytes = Uint8Array.from(atob(told.bytes ?? ""), (character) => character.charCodeAt(0));
"""
HEAD = "const head = await readHead(new File([bytes], 'x'));"


@pytest.fixture
def blank(tab: Page) -> Page:
    """A page of the service that runs nothing of its own."""
    tab.goto("/login/")
    return tab


def run(page: Page, body: str, data: bytes = b"", **told: Any) -> Any:
    """What some lines that use the page's modules return. `told` and the bytes are there under these names."""
    known = {"by_header": columns.names_by_header(), "bytes": base64.b64encode(data).decode()}
    return page.evaluate(f"async (told) => {{ {FIND} {body} }}", {**known, **told})


def read(page: Page, data: bytes, whole: bool = True, **told: Any) -> Any:
    return run(page, "return preview({ bytes, whole: told.whole }, told.format, find)", data, whole=whole, format=told)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CORPUS / "csvs").glob("*.csv")))
def test_it_reads_the_cells_that_others_read(blank: Page, name: str) -> None:
    data = (CORPUS / "csvs" / f"{name}.csv").read_bytes()
    expected = json.loads((CORPUS / "json" / f"{name.removesuffix('_crlf')}.json").read_text())

    found = read(blank, data, delimiter=",")

    rows = [dict(zip(found["header"], row["cells"], strict=True)) for row in found["rows"]]
    normal = [{key: value.replace("\r\n", "\n") for key, value in row.items()} for row in rows]
    assert normal == expected
    assert found["odd"] is None


SAMPLES = [
    "",
    "\n\n",
    "x\n",
    "sku",
    "sku,name\nA,B\n",
    "sku;name\nA,1;B\n",
    "sku\tname\tcolour\nA\tB\tC\n",
    "a|b\n1|2\n",
    'sku;"na,me";status\n1;"2;3";4\n',
    "Artikel;Bezeichnung,lang\n1;2\n",
    "a, b;c\n1;2\n3;4\n",
    "a b c\n1 2 3\n",
    "\n\nSKU;Title;Price\nA;one;1\n",
    "sku;note, with commas, many, of, them\nA;b\n",
    'sku;name\nA;"1,2\n3,4"\nB;"5,6',
    'sku;"name\nA;one\n',
    'sku,name\nA,one\nB,"two\nC,three\n',
    'sku,name\nA,"one"two\nB;three\n',
    "sku^name\nA^one\n",
    "a~b~c\n1~2~3\n",
    "a^b\n1^2\n3^4\n",
    "'sku','name'\n'A','one'\n",
    "nr,text\nA,'one, two'\nB,'three, four'\n",
    "nr^text\nA^'one^ two'\nB^'three^ four'\n",
    "nr,text\nA,'It''s'\nB,\"two\"\n",
    "sku,name\nA,'tis\nB,rock 'n' roll\n",
    "sep=|\r\na,b|c\r\n1,2|3\r\n",
    "Price list of November\n\nsku;name\n1;a\n",
    "# made by hand\n# on Monday, late\nNr,Text,Price\n1,a,2\n2,b,3\n",
    "Shop;Berlin\n\nNr;Text;Price\n1;a;2\n2;b;3\n",
    "1;2\n\n3;4;5\n6;7;8\n",
    "Title\rNr;Text\r1;a\r",
]


@pytest.mark.parametrize("told", [{}, {"delimiter": ";"}, {"quote": ""}, {"header_line": 2}], ids=str)
def test_it_finds_the_dialect_that_the_server_finds(blank: Page, told: dict[str, Any]) -> None:
    in_the_browser = """
        const { delimiter, quote, header_line: headerLine } = told.format;
        return told.samples.map((sample) => findDialect(sample, { delimiter, quote, headerLine }, find));
    """

    found = run(blank, in_the_browser, samples=SAMPLES, format=told)

    for sample, browser in zip(SAMPLES, found, strict=True):
        server = find_dialect(sample, **told)
        assert browser == {
            "delimiter": server.delimiter,
            "quote": server.quote,
            "headerLine": server.header_line,
        }, sample


@pytest.mark.parametrize("header", ["sku", " Product-SKU ", "IS_ACTIVE", "colour", "", "Größe", "Item  Number"])
def test_it_matches_the_headers_that_the_server_matches(blank: Page, header: str) -> None:
    column = columns.find(header)

    assert run(blank, "return find(told.header)", header=header) == (column.name if column else "")


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"sku,name\n", "utf-8"),
        (b"\xef\xbb\xbfsku,name\n", "utf-8"),
        ("sku,Größe\n".encode(), "utf-8"),
        ("sku,Größe\n".encode("cp1252"), "windows-1252"),
        ("sku,Größe\n".encode("utf-16"), "utf-16le"),
        ("sku,Größe\n".encode("utf-16-be"), "utf-16be"),
    ],
)
def test_it_tells_encodings_apart(blank: Page, data: bytes, encoding: str) -> None:
    found = read(blank, data)

    assert found["encoding"] == encoding
    server = find_encoding(data, whole=True)
    assert server.name.replace("utf-16-", "utf-16") == encoding
    assert found["isGuess"] == (server.origin == "guess")
    assert found["header"][0] == "sku"
    assert found["unreadable"] == 0


@pytest.mark.parametrize("language", ["Polish", "Russian", "Greek", "Japanese"])
def test_it_says_that_an_encoding_is_a_guess(blank: Page, language: str) -> None:
    codec = {"Polish": "cp1250", "Russian": "cp1251", "Greek": "cp1253", "Japanese": "shift_jis"}[language]
    data = TEXTS[language].encode(codec)

    assert read(blank, data)["isGuess"]
    assert not read(blank, data, encoding=codec.replace("cp", "windows-"))["isGuess"]


def test_a_character_that_the_head_ends_in_the_middle_of_is_no_sign_of_another_encoding(blank: Page) -> None:
    cut = "sku,name\n1,ö".encode()[:-1]

    assert run(blank, "return guessEncoding(bytes, false)", cut) == "utf-8"
    assert run(blank, "return guessEncoding(bytes, true)", cut) == "windows-1252"


def test_it_leaves_out_the_row_that_the_head_ends_in_the_middle_of(blank: Page) -> None:
    for data in (b"sku,name\n1,a\n2,b", b'sku,name\n1,a\n2,"b\nc', b'sku,name\n1,a\n2,"b"'):
        found = read(blank, data, whole=False)

        assert [row["cells"] for row in found["rows"]] == [["1", "a"]]
        assert found["odd"] is None


def test_rows_have_the_line_that_an_editor_shows(blank: Page) -> None:
    found = read(blank, b'sku,name\r\n1,"two\r\nlines"\r\n\r\n2,b\r3,c\n')

    assert [row["line"] for row in found["rows"]] == [2, 5, 6]


def test_it_finds_a_header_below_a_title(blank: Page) -> None:
    found = read(blank, b"Price list of November\n\nsku;name\n1;a\n")

    assert (found["headerLine"], found["header"], found["delimiter"]) == (3, ["sku", "name"], ";")


def test_it_names_what_is_odd(blank: Page) -> None:
    assert read(blank, b'sku,name\n1,"a\n2,b\n')["odd"] == {"line": 2, "what": "open"}
    assert read(blank, b'sku,name\n1,a\n2,"b"c\n')["odd"] == {"line": 3, "what": "misplaced"}
    assert read(blank, b"sku,name\n1,a\n2\n")["uneven"] == 3


def test_it_does_as_it_is_told(blank: Page) -> None:
    data = "title\nsku;name\n1;'a;ö'\n".encode()

    found = read(blank, data, delimiter=";", quote="'", headerLine=2, encoding="utf-8")

    assert (found["header"], found["rows"][0]["cells"]) == (["sku", "name"], ["1", "a;ö"])


def test_it_looks_into_a_gzip_archive_and_not_into_a_workbook(blank: Page) -> None:
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    look = f"{HEAD} return [head.packed, preview(head, {{}}, find).header]"

    assert run(blank, look, gzip.compress(b"sku,name\n1,a\n")) == [True, ["sku", "name"]]
    assert run(blank, "return kindOf(bytes).how", book.getvalue()) == "workbook"
    assert run(blank, "return kindOf(bytes).how", b"%PDF-1.7 ...") == "refused"


def test_it_looks_into_the_beginning_of_a_large_gzip_archive(blank: Page) -> None:
    rows = b"".join(
        b"%d,%s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode()) for number in range(20_000)
    )
    look = f"{HEAD} return [head.whole, preview(head, {{}}, find).rows.length]"

    whole, rows_found = run(blank, look, gzip.compress(b"sku,name\n" + rows))

    assert whole is False
    assert rows_found > 1000


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 100_000])
def test_its_sha256_is_that_of_others(blank: Page, size: int) -> None:
    data = bytes(number * 7 % 251 for number in range(size))
    in_steps = """
        const hash = new Sha256();
        for (let at = 0; at < bytes.length; at += 37) hash.update(bytes.subarray(at, at + 37));
        return hash.digest();
    """

    assert run(blank, in_steps, data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"Artikel": "sku", "Farbe": ""}, []),
        ({"Artikel": "", "Farbe": ""}, ["No column is the sku yet"]),
        ({"Artikel": "sku", "Farbe": "sku"}, ["“Artikel” and “Farbe” both go to sku"]),
        ({"Artikel": "sku", "Farbe": "attributes. "}, ["Give the attribute for “Farbe” a name"]),
        ({"Artikel": "sku", "Farbe": "attributes." + "x" * 101}, ["An attribute's name has 1 to 100"]),
        ({"Artikel": "attributes.a", "Farbe": "attributes.a", "C": "sku"}, ["both go to the attribute a"]),
    ],
)
def test_it_says_what_is_wrong_with_a_mapping(blank: Page, targets: dict[str, str], words: list[str]) -> None:
    body = """
        const rules = { attribute: "attributes.", limit: 100 };
        return mappingProblems(Object.keys(told.targets), Object.values(told.targets), rules);
    """

    problems = run(blank, body, targets=targets)

    assert len(problems) == len(words)
    for problem, expected in zip(problems, words, strict=True):
        assert expected in problem["words"]


def test_it_says_how_full_the_columns_are(blank: Page) -> None:
    rows = [{"cells": ["1", ""]}, {"cells": ["2", " "]}, {"cells": ["3", "x"]}, {"cells": ["4"]}]

    assert run(blank, "return fillRates(told.rows, 2)", rows=rows) == [1, 0.25]
