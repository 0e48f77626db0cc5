"""`manage.py read_csv`: any table that the importer can read, as plain CSV."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from products.tests.importing import archives

CORPUS = Path(__file__).parent / "importing" / "corpora" / "csv-spectrum"


def read_csv(file: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command; give its exit code, what it wrote, and what it said."""
    wrote, said = StringIO(newline=""), StringIO()
    try:
        call_command("read_csv", str(file), "--output", "-", *arguments, stdout=wrote, stderr=said)
    except CommandError as error:
        return error.returncode, wrote.getvalue(), str(error)
    return 0, wrote.getvalue(), said.getvalue()


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in (CORPUS / "csvs").glob("*.csv")))
def test_what_it_writes_of_the_csv_spectrum_is_what_the_json_says(name: str, tmp_path: Path) -> None:
    expected = json.loads((CORPUS / "json" / f"{name}.json").read_text(encoding="utf-8"))
    output = tmp_path / "clean.csv"

    call_command("read_csv", str(CORPUS / "csvs" / f"{name}.csv"), "--output", str(output), stderr=StringIO())

    with output.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["clean.csv"]


@pytest.mark.parametrize(
    "content",
    [
        'Preise 2026\r\n\r\nNr;Wort\r\n1;größer, als\r\n2;"ein ""Wort"""\r\n'.encode("cp1252"),
        gzip.compress('Nr\tWort\n1\tgrößer, als\n2\t"ein ""Wort"""\n'.encode("utf-16")),
        archives.zip_of({"a.csv": "'Nr'|'Wort'\r'1'|'größer, als'\r'2'|'ein \"Wort\"'".encode("utf-8-sig")}),
        archives.xlsx([None, ["Nr", "Wort"], [1, "größer, als"], None, [2, 'ein "Wort"']]),
        archives.ods(["Nr", "Wort"], ["1", "größer, als"], ["2", 'ein "Wort"']),
    ],
)
def test_it_writes_the_same_whatever_the_file_is(content: bytes, tmp_path: Path) -> None:
    code, wrote, _ = read_csv(file_of(tmp_path, content))

    assert (code, wrote) == (0, 'Nr,Wort\r\n1,"größer, als"\r\n2,"ein ""Wort"""\r\n')


def test_it_says_what_it_found_out_and_what_it_repaired(tmp_path: Path) -> None:
    file = file_of(tmp_path, "Prices\na\tb\n1\t2\t\t\n3\té\n".encode("latin-1"))

    code, wrote, said = read_csv(file)

    assert (code, wrote) == (0, "a,b\r\n1,2\r\n3,é\r\n")
    assert said.splitlines() == [
        "encoding: windows-1252",
        "encoding from: guess",
        "delimiter: tab",
        'quote: "',
        "header line: 2",
        "Line 3: 2 empty cells at the end of the row were left out.",
        "2 rows, 1 of them repaired",
    ]


def test_it_takes_what_is_declared(tmp_path: Path) -> None:
    file = file_of(tmp_path, "title,x\n'a,b';c\n".encode("cp850"))

    code, wrote, said = read_csv(
        file, "--encoding", "cp850", "--delimiter", ";", "--quote", "none", "--header-line", "2"
    )

    assert (code, wrote) == (0, "\"'a,b'\",c\r\n")
    assert "encoding: cp850" in said
    assert "quote: none" in said


def test_it_leaves_rows_as_they_are_that_it_can_not_repair(tmp_path: Path) -> None:
    code, wrote, _ = read_csv(file_of(tmp_path, b"a,b\n1\n1,2,3\n"))

    assert (code, wrote) == (0, "a,b\r\n1\r\n1,2,3\r\n")


@pytest.mark.parametrize(
    ("content", "arguments", "code", "word"),
    [
        (b"", (), 1, "empty"),
        (b'a,b\n1,"2\n', (), 1, "on line 2"),
        (b"a,b\n", ("--encoding", "utf-99"), 2, "utf-99"),
        (b"a,b\n", ("--delimiter", "ab"), 2, "one character"),
    ],
)
def test_what_can_not_be_read_is_said_and_has_an_exit_code(
    content: bytes, arguments: tuple[str, ...], code: int, word: str, tmp_path: Path
) -> None:
    found, _, said = read_csv(file_of(tmp_path, content), *arguments)

    assert found == code
    assert word in said


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    code, _, said = read_csv(tmp_path / "gone.csv")

    assert code == 2
    assert "gone.csv" in said


def test_a_file_that_turns_bad_leaves_no_half_of_it(tmp_path: Path) -> None:
    output = tmp_path / "clean.csv"
    output.write_text("what was there")
    file = file_of(tmp_path, b'a,b\n1,"2\n')

    with pytest.raises(CommandError):
        call_command("read_csv", str(file), "--output", str(output), stderr=StringIO())

    assert output.read_text() == "what was there"
    assert {path.name for path in tmp_path.iterdir()} == {"clean.csv", "file"}


def test_it_writes_utf8_to_a_pipe_whatever_the_terminal_speaks(tmp_path: Path) -> None:
    file = file_of(tmp_path, "a;b\n1;ü\n".encode())

    done = subprocess.run(
        [sys.executable, "manage.py", "read_csv", str(file), "--output", "-"],
        cwd=settings.BASE_DIR,
        env={"PATH": "", "PYTHONIOENCODING": "ascii", "SECRET_KEY": "x" * 50, "DATABASE_URL": "postgres:///none"},
        capture_output=True,
        check=True,
    )

    assert done.stdout == "a,b\r\n1,ü\r\n".encode()
