from __future__ import annotations

import io

import pytest

from products.importing.detect import Dialect, find_dialect, find_encoding, find_header, refuse_what_is_not_text
from products.importing.errors import FileError
from products.importing.reader import open_reader

TEXTS = {
    "German": "sku;name\nA;Tür mit Öffner, groß\nB;Stühle für draußen\nC;Käsehobel\n",
    "French": "sku;nom\nA;Théière élégante\nB;Fenêtre à côté\nC;Boîte à épices, prête\n",
    "Spanish": "sku;nombre\nA;Lámpara pequeña\nB;Silla de niño\nC;Cajón español\n",
    "Danish": "sku;navn\nA;Rødgrød på fløde\nB;Blå køkkenstol\n",
    "Polish": "sku;nazwa\nA;Lampka żółta\nB;Krzesło dębowe\nC;Półka ścienna\n",
    "Russian": "sku;name\nA;Настольная лампа\nB;Стул дубовый\nC;Письменный стол\nD;Шкаф для одежды\n",
    "Greek": "sku;name\nA;Λάμπα γραφείου\nB;Καρέκλα\nC;Τραπέζι ξύλινο\n",
    "Japanese": "sku;name\nA;デスクランプ\nB;椅子\nC;テーブル 木製\nD;本棚\n",
}


# the delimiter and the quotation mark


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

    assert find_dialect(swapped).delimiter == delimiter


def test_it_looks_at_the_rows_when_no_header_is_known() -> None:
    assert find_dialect("a, b;c\n1;2\n3;4\n").delimiter == ";"


@pytest.mark.parametrize("text", ["", "\n\n", "sku\nA;1\nB;2\n", "sku", "x\n"])
def test_it_takes_the_comma_when_nothing_tells(text: str) -> None:
    assert find_dialect(text).delimiter == ","


@pytest.mark.parametrize("delimiter", ["^", "~", ":"])
def test_it_takes_a_rare_delimiter_only_where_all_speaks_for_it(delimiter: str) -> None:
    assert find_dialect("sku^name\nA^one\n".replace("^", delimiter)).delimiter == delimiter
    assert find_dialect("a^b^c\n1^2^3\n".replace("^", delimiter)).delimiter == delimiter
    assert find_dialect("a^b\n1^2\n3^4\n".replace("^", delimiter)).delimiter == ","
    assert find_dialect("a^b^c\n1^2^3\n3^4\n".replace("^", delimiter)).delimiter == ","
    assert find_dialect("sku,a^b\nA,1^2\n".replace("^", delimiter)).delimiter == ","


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("'sku','name'\n'A','one'\n", "'"),
        ("'Nr','Text'\n'A','one'\n", "'"),
        ("nr,text\nA,'one, two'\nB,'three, four'\n", "'"),
        ('nr,text\nA,"one, two"\n', '"'),
        ("nr,text\nA,'It''s'\nB,two\n", "'"),
        ("nr,text\nA,'It''s'\nB,\"two\"\n", '"'),
        ("nr,text,x\nA,\"see, 'a, b', c\",1\nB,two,2\n", '"'),
        ("sku,name\nA,'one'\nB,'two'\n", '"'),
        ("sku,name\nA,'tis\nB,rock 'n' roll\n", '"'),
        ("sku,name\nA,one\nB,'two, three\n", '"'),
        ('sku,name\nA,one\nB,"two\nC,three\n', '"'),
    ],
)
def test_it_finds_the_quotation_mark(text: str, quote: str) -> None:
    assert find_dialect(text) == Dialect(",", quote, 1)


def test_apostrophes_in_far_rows_are_no_quotation_marks_where_those_rows_say_otherwise() -> None:
    usual = "sku,name,text\n" + "A,Lamp,brass\n" * 150

    assert find_dialect(usual + "B,'90s lamp,the boys'\n").quote == '"'
    assert find_dialect(usual + "B,'A lamp, of oak',brass\n").quote == "'"


def test_it_takes_what_is_declared() -> None:
    assert find_dialect("sku,name;x\nA,b;c\n", delimiter=";", quote="", header_line=2) == Dialect(";", "", 2)


# the line that names the columns


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Products of 2026\n\nsku;name;price\nA;one;1\nB;two;2\n", 3),
        ("Products of 2026;;\nsku;name;price\nA;one;1\n", 2),
        ("# made by the ERP; do not edit\nArtikel;Text;Preis\nA;one;1\n", 2),
        ("Report;Products\nMade;2026-01-02\n\nArtikel;Text;Preis\nA;one;1\n", 4),
        ("Years, regions, sexes\n****\nRegion:;Here\n;;;\nA;B;C;D\n1;2;3;4\n5;6;7;8\n", 5),
        ("Report;Products;of;2026\nsku;name;price;x\nA;one;1;\n", 2),
        ("\n\nTitle\nArtikel;Text\nA;one\n", 4),
        ('"A title\nof two lines"\nArtikel;Text\nA;one\n', 3),
        ("sep=;\nArtikel;Text\nA;one\n", 2),
    ],
)
def test_it_passes_over_what_stands_before_the_header(text: str, line: int) -> None:
    assert find_dialect(text) == Dialect(";", '"', line)


@pytest.mark.parametrize(
    "text",
    [
        "sku\nA;one;1\nB;two;2\n",
        "sku;;\nArtikel;Text;Preis\nA;one;1\n",
        "Artikel;Text;Preis\nsku;A;1\n",
        "Artikel;Text\n\nA;one;1\nB;two;2\n",
        "#;Text;Preis\n1;one;1\n2;two;2\n",
        "Artikel;Text;Preis\nA;one\nB;two\nC;three\n",
        "Artikel\nA\nsku\nB\n",
    ],
)
def test_it_takes_no_header_for_a_title(text: str) -> None:
    assert find_dialect(text, delimiter=";").header_line == 1


def test_excel_is_told_the_delimiter_by_a_line_of_its_own() -> None:
    assert find_dialect("sep=|\r\na,b|c\r\n1,2|3\r\n").delimiter == "|"


def test_of_no_rows_none_is_the_header() -> None:
    assert find_header([]) == 0


# the encoding


@pytest.mark.parametrize(
    ("data", "name", "origin"),
    [
        (b"sku,name\n", "utf-8", "content"),
        ("sku,größe\n".encode(), "utf-8", "content"),
        ("sku,größe\n".encode("utf-8-sig"), "utf-8", "bom"),
        ("sku,name\n".encode("utf-16"), "utf-16-le", "bom"),
        (b"\xfe\xff" + "sku,name\n".encode("utf-16-be"), "utf-16-be", "bom"),
        ("sku,name\n".encode("utf-32"), "utf-32-le", "bom"),
        ("sku,größe\n".encode("utf-16-le"), "utf-16-le", "content"),
        ("sku,größe\n".encode("utf-16-be"), "utf-16-be", "content"),
        ("артикул;имя\nA-1;лампа\nA-2;стул\n".encode("utf-16-le"), "utf-16-le", "content"),
        ("sku,größe\n".encode("cp1252"), "windows-1252", "guess"),
        ("sku,name\nA,café".encode("latin-1"), "windows-1252", "guess"),
        ("sku,name\nA,€".encode()[:-1], "utf-8", "content"),
        ("sku,größe\nA,é".encode()[:-1], "utf-8", "content"),
    ],
)
def test_it_finds_the_encoding(data: bytes, name: str, origin: str) -> None:
    found = find_encoding(data, whole=True)

    assert (found.name, found.origin) == (name, origin)


@pytest.mark.parametrize(
    ("declared", "data", "codec"),
    [
        ("latin1", "größe".encode(), "iso8859-1"),
        ("UTF-16", "sku".encode("utf-16-be"), "utf-16-le"),
        ("utf-16", b"\xfe\xff" + "sku".encode("utf-16-be"), "utf-16-be"),
        ("utf-8-sig", b"sku", "utf-8"),
        ("windows-1252", b"\xef\xbb\xbfsku", "cp1252"),
    ],
)
def test_what_is_declared_counts_most(declared: str, data: bytes, codec: str) -> None:
    found = find_encoding(data, whole=True, declared=declared)

    assert (found.codec, found.origin) == (codec, "declared")


@pytest.mark.parametrize(
    ("language", "codec"),
    [
        *((language, codec) for language in ("German", "French", "Spanish") for codec in ("cp1252", "cp850")),
        *((language, "mac-roman") for language in ("German", "French")),
        ("Danish", "cp1252"),
        ("Polish", "cp1250"),
        ("Russian", "cp1251"),
        ("Russian", "koi8-r"),
        ("Greek", "cp1253"),
        ("Japanese", "shift_jis"),
        ("Japanese", "euc_jp"),
    ],
)
@pytest.mark.parametrize("cut", [False, True])
def test_it_guesses_an_encoding_that_reads_right(language: str, codec: str, cut: bool) -> None:
    text = TEXTS[language]
    data = text.encode(codec)[: -3 if cut else None]

    found = find_encoding(data, whole=not cut)

    assert found.origin == "guess"
    assert text.startswith(data.decode(found.codec, "ignore"))


# what is no text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"GIF89a\x01\0\x01\0", "a GIF picture"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page"),
        ('<?xml version="1.0"?><Workbook>'.encode("utf-16"), "a web page or XML"),
    ],
)
def test_it_says_what_a_file_is_that_is_no_text(data: bytes, kind: str) -> None:
    with pytest.raises(FileError) as caught:
        open_reader(io.BytesIO(data), total_bytes=len(data))

    assert caught.value.code == "not_text"
    assert f"The file is {kind}" in caught.value.detail


@pytest.mark.parametrize("data", [b"sku,name\nA,one\n", b"PK,sku\n", b"GIF,sku\n", "größe,sku\n".encode(), b"x"])
def test_it_lets_text_pass(data: bytes) -> None:
    refuse_what_is_not_text(data)
