"""`manage.py import_csv`: the same import, in the terminal."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError

from accounts.models import User
from products.api.rejects_csv import rejects_csv
from products.models import Import, Product

# The pipeline works over connections of its own, which see only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.csv").write_text("sku,name,colour\nA,Lamp\u00e9,red\nB,Chair,blue\n", encoding="utf-8")
    (tmp_path / "mixed.csv").write_text("sku,name\nA,Lamp\n,Nameless\n", encoding="utf-8")
    (tmp_path / "bad.csv").write_text("name\nLamp\n", encoding="utf-8")
    return tmp_path


def run(*arguments: object) -> tuple[int, str]:
    """Run the command; give its exit code and what it says."""
    said = StringIO()
    try:
        call_command("import_csv", *map(str, arguments), stdout=said)
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    except CommandError as error:
        assert not isinstance(error, SystemCheckError)
        return error.returncode, str(error)
    return 0, said.getvalue()


def test_a_good_file_is_applied_and_summed_up(folder: Path) -> None:
    ada = User.objects.create_user("ada")

    code, said = run(folder / "good.csv", "--user", "ada")

    assert code == 0
    assert "2 rows read" in said
    assert "2 created" in said
    assert "colour" in said
    assert set(Product.objects.values_list("sku", "name")) == {("A", "Lamp\u00e9"), ("B", "Chair")}
    import_ = Import.objects.get()
    assert (import_.state, import_.file_name, import_.created_by) == ("SUCCESS", "good.csv", ada)


def test_rejected_rows_are_shown_and_have_an_exit_code_of_their_own(folder: Path) -> None:
    code, said = run(folder / "mixed.csv")

    assert code == 3
    assert "1 rejected" in said
    assert "Line 3: The sku is empty." in said
    assert list(Product.objects.values_list("sku", flat=True)) == ["A"]


def test_the_rejected_rows_can_be_imported_again_as_they_were_downloaded(folder: Path) -> None:
    (folder / "ragged.csv").write_text("sku,name\nA,Lamp\nB\nC,Chair,more\n,Nameless\n", encoding="utf-8")
    run(folder / "ragged.csv")
    rejects = "".join(rejects_csv(Import.objects.get(), "rejected"))

    (folder / "again.csv").write_text(rejects, encoding="utf-8", newline="")
    code, _ = run(folder / "again.csv")
    again = Import.objects.latest("created_at")
    (folder / "corrected.csv").write_text(
        rejects.replace(",B\r", ",B,Bench\r").replace(",more", "").replace(",,Nameless", ",D,Desk"), newline=""
    )
    corrected, _ = run(folder / "corrected.csv")

    assert (code, again.rows_rejected, again.rows_read) == (3, 3, 3)
    assert set(again.ignored_columns) == {"_line", "_error"}
    assert corrected == 0
    assert set(Product.objects.values_list("sku", "name")) == {
        ("A", "Lamp"),
        ("B", "Bench"),
        ("C", "Chair"),
        ("D", "Desk"),
    }


def test_the_rejected_rows_go_by_the_mapping_of_the_file_that_they_come_from(folder: Path) -> None:
    (folder / "german.csv").write_text("Artikel,=Name,Farbe,,status\nA,Lamp,red,L,active\nB,Chair,blue,M,sold\n")
    mapping = {"Artikel": "sku", "=Name": "name", "Farbe": "attributes.colour", "(column 4)": "attributes.size"}
    code, _ = run(folder / "german.csv", "--mapping", json.dumps(mapping))
    assert code == 3

    rejects = "".join(rejects_csv(Import.objects.get(), "rejected"))
    (folder / "corrected.csv").write_text(rejects.replace("sold", "active"), newline="")
    code, _ = run(folder / "corrected.csv")

    assert code == 0
    assert Import.objects.latest("created_at").ignored_columns == ["_line", "_error"]
    assert list(Product.objects.order_by("sku").values_list("sku", "name", "attributes")) == [
        ("A", "Lamp", {"colour": "red", "size": "L"}),
        ("B", "Chair", {"colour": "blue", "size": "M"}),
    ]


def test_the_options_are_those_of_an_upload(folder: Path) -> None:
    code, said = run(folder / "mixed.csv", "--on-error", "abort", "--mode", "create", "--max-rejects", "none")

    assert code == 1
    assert said.startswith("Failed: ")
    assert not Product.objects.exists()
    import_ = Import.objects.get()
    assert (import_.mode, import_.on_error, import_.max_rejects) == ("create", "abort", "none")


def test_a_file_that_is_none_of_products_fails_with_its_reason(folder: Path) -> None:
    code, said = run(folder / "bad.csv")

    assert code == 1
    assert "sku" in said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["gone.csv"], "gone.csv"),
        (["."], "can't be read"),
        (["good.csv", "--user", "nobody"], "nobody"),
        (["good.csv", "--mode", "replace"], "replace"),
        (["good.csv", "--max-rejects", "few"], "few"),
    ],
)
def test_what_can_not_be_done_as_given_is_said(folder: Path, arguments: list[str], word: str) -> None:
    file, *options = arguments

    code, said = run(folder / file, *options)

    assert code == 2
    assert word in said
    assert not Import.objects.exists()


class Terminal(StringIO):
    """Somebody who types an answer."""

    def isatty(self) -> bool:
        return True


def test_with_check_it_shows_what_would_change_and_does_not_apply_it_by_itself(folder: Path) -> None:
    code, said = run(folder / "good.csv", "--check")

    assert code == 4
    assert "2 would be created, 0 updated" in said
    assert "created A: name None -> 'Lamp\u00e9'" in said
    assert "/imports/" in said
    assert not Product.objects.exists()
    assert Import.objects.get().phase == "checked"


@pytest.mark.parametrize(("answer", "code", "products"), [("y", 0, 2), ("", 1, 0)])
def test_on_a_terminal_it_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, products: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))

    found, _ = run(folder / "good.csv", "--check")

    assert found == code
    assert Product.objects.count() == products


def test_what_was_checked_is_applied_without_asking_by_yes(folder: Path) -> None:
    code, said = run(folder / "good.csv", "--check", "--yes")

    assert code == 0
    assert "2 would be created" in said
    assert "2 created" in said
    assert Product.objects.count() == 2


def test_a_guessed_encoding_is_looked_at_first(folder: Path) -> None:
    (folder / "old.csv").write_text("sku,name\nA,Gr\u00f6\u00dfe\n", encoding="cp1252")

    code, said = run(folder / "old.csv")

    assert code == 4
    assert "The encoding is a guess: windows-1252." in said
    assert "Gr\u00f6\u00dfe" in said
    assert not Product.objects.exists()


def test_what_the_file_is_like_can_be_declared(folder: Path) -> None:
    (folder / "old.csv").write_text("Preise\nNr;Wort,x\nA;'Gr\u00f6\u00dfe'\n", encoding="cp1252")
    declared = ["--encoding", "cp1252", "--delimiter", ";", "--quote", "'", "--header-line", "2"]

    code, _ = run(folder / "old.csv", *declared, "--mapping", '{"Nr": "sku", "Wort,x": "name"}')

    assert code == 0
    assert list(Product.objects.values_list("sku", "name")) == [("A", "Gr\u00f6\u00dfe")]
