"""One import's page through its life, and the list, read as the server sends them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from products import import_page, row_pages
from products.change_pages import CHANGES_A_PAGE, difference
from products.importing import report
from products.models import Import, Product, ReportedRow
from products.selection import Selection
from products.templatetags.figures import took
from products.tests.importing.imports import csv, imported, numbered, read, received, run
from products.tests.test_views import make_import, make_user, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice() -> User:
    return make_user("alice", "add_import")


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def checked(alice: User, content: str, **options: str) -> Import:
    """A file that is checked and waits."""
    import_ = run(received(content, user=alice, check_first="true", max_rejects="none", **options))
    assert import_.phase == "checked", import_.error_message
    return import_


def text_of(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer
    return re.sub(r"\s+", " ", answer.content.decode())


def page_of(client: Client, import_: Import) -> str:
    return text_of(client, f"/imports/{import_.pk}/")


def post(client: Client, import_: Import, what: str, **fields: str) -> str:
    answer = client.post(f"/imports/{import_.pk}/{what}/", fields, follow=True)
    return re.sub(r"\s+", " ", answer.content.decode())


# --- the steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, standings",
    [
        ({}, "done now skipped todo todo"),
        ({"check_first": True}, "done now todo todo todo"),
        ({"state": "PROGRESS", "phase": "staging"}, "done now skipped todo todo"),
        ({"state": "PROGRESS", "phase": "merging", "bytes_read": 9}, "done going skipped now todo"),
        ({"state": "PROGRESS", "phase": "merging", "bytes_read": 10}, "done done skipped now todo"),
        ({"check_first": True, "phase": "checked"}, "done done now todo todo"),
        ({"check_first": True, "phase": "queued", "apply_requested_at": timezone.now()}, "done done done now todo"),
        ({"state": "SUCCESS", "phase": "finished"}, "done done skipped done done"),
        ({"state": "SUCCESS", "phase": "finished", "checked_at": timezone.now()}, "done done done done done"),
        ({"state": "FAILURE", "phase": "finished"}, "done failed skipped todo todo"),
        (
            {"state": "CANCELLED", "phase": "finished", "check_first": True, "checked_at": timezone.now()},
            "done done failed todo todo",
        ),
        ({"kind": "undo", "state": "PROGRESS", "phase": "merging"}, "now todo"),
    ],
)
def test_it_says_at_which_step_an_import_is(fields: dict[str, Any], standings: str) -> None:
    assert " ".join(step.standing for step in import_page.steps(Import(bytes_total=10, **fields))) == standings


@pytest.mark.parametrize(
    "content, words",
    [
        ("sku,name\n", "There is no row below the header: nothing had to change."),
        ("sku,name\n,Lamp\n", "No row could be applied. 1 row was rejected"),
        ("sku,name\nSKU-000000,Lamp\n", "The catalogue already held all of it"),
        (
            "sku,name\nSKU-000000,Lamp\n,Lamp\n",
            "The catalogue already held the other rows: nothing had to change. 1 row",
        ),
    ],
)
def test_it_says_why_nothing_had_to_change(client: Client, alice: User, content: str, words: str) -> None:
    imported(csv("sku,name", "SKU-000000,Lamp"))

    assert words in page_of(client, run(received(content, user=alice, max_rejects="none")))


# --- the decision --------------------------------------------------------------------------------


def test_it_says_what_applying_a_checked_file_would_do(client: Client, alice: User) -> None:
    imported(numbered(3))
    import_ = checked(alice, csv("sku,name", "SKU-000000,Lamp", "SKU-000001,Shelf", "NEW,New", ",Nothing"))

    text = page_of(client, import_)

    assert "Of 4 rows: <strong>1 new</strong>, <strong>1 changed</strong>, 1 unchanged" in text
    assert ">Apply: create 1, change 1</button>" in text
    assert "4 rows read = 1 new + 1 changed + 1 unchanged + 1 rejected + 0 duplicate" in text
    assert "<del>Lamp</del>" in text
    assert "<ins>Shelf</ins>" in text


def test_the_sum_of_an_undo_is_told_in_the_words_of_its_counts() -> None:
    undo = Import(kind="undo", rows_read=9, rows_updated=5, rows_deleted=3, rows_rejected=1)
    change = Import(kind="bulk", rows_read=4, rows_updated=3, rows_unchanged=1)

    assert import_page.sum_of(undo) == "9 looked at = 5 set back + 1 kept as they are + 3 removed again"
    assert import_page.sum_of(change) == "4 looked at = 3 changed + 1 unchanged"


@pytest.mark.parametrize("what", ["apply", "cancel", "undo", "read-again"])
def test_who_had_to_log_in_before_a_button_worked_is_led_to_it_again(client: Client, alice: User, what: str) -> None:
    """The login leads to where the form was sent, and not with what it said."""
    import_ = checked(alice, numbered(2))

    answer = client.get(f"/imports/{import_.pk}/{what}/", follow=True)

    assert answer.redirect_chain == [(f"/imports/{import_.pk}/", 302)]
    assert "Nothing was done yet." in answer.content.decode()
    import_.refresh_from_db()
    assert import_.phase == "checked"
    assert signed_in(make_user("bob")).get(f"/imports/{import_.pk}/{what}/").status_code == 404


def test_it_applies_and_undoes_by_plain_forms(client: Client, alice: User) -> None:
    import_ = checked(alice, numbered(2))

    post(client, import_, "apply")
    run(import_)
    assert Product.objects.count() == 2
    assert "Undo this import" in page_of(client, import_)

    text = post(client, import_, "undo")
    undo = Import.objects.get(undoes=import_)
    assert f"<h1>{undo.file_name}</h1>" in text
    run(undo)

    assert Product.objects.count() == 0
    assert f'/imports/{import_.pk}/">products.csv</a>' in page_of(client, undo)
    assert f'/imports/{undo.pk}/">this undo</a> (done)' in page_of(client, import_)


def test_it_asks_before_many_products_become_inactive(client: Client, alice: User) -> None:
    imported(numbered(10))
    import_ = checked(alice, numbered(8), mode="sync")
    assert "Yes, deactivate 2 products" in page_of(client, import_)

    assert "tick the box" in post(client, import_, "apply")
    assert read(import_).phase == "checked"
    assert "tick the box" in post(client, import_, "apply", deactivate="1")

    post(client, import_, "apply", deactivate="2")
    assert run(import_).state == "SUCCESS"
    assert Product.objects.filter(status="inactive").count() == 2


def test_it_does_not_ask_where_few_products_become_inactive(client: Client, alice: User) -> None:
    imported(numbered(10))
    import_ = checked(alice, numbered(9), mode="sync")

    assert "Yes, deactivate" not in page_of(client, import_)
    post(client, import_, "apply")

    assert run(import_).state == "SUCCESS"


def test_it_says_that_a_file_was_checked_again(client: Client, alice: User) -> None:
    import_ = checked(alice, numbered(2))
    imported(numbered(1, name="Shelf"))

    post(client, import_, "apply")
    run(import_)

    text = page_of(client, import_)
    assert "This was checked again." in text
    assert "Apply: create 1, change 1" in text
    assert "<del>Shelf</del>" in text


@pytest.mark.parametrize("what", ["apply", "undo", "read-again", "cancel"])
def test_it_lets_nobody_decide_who_may_not_import(alice: User, what: str) -> None:
    import_ = checked(alice, numbered(1))
    onlooker = signed_in(make_user("olga", "view_import"))

    assert onlooker.post(f"/imports/{import_.pk}/{what}/").status_code == 403
    assert read(import_).phase == "checked"
    assert "Apply:" not in page_of(onlooker, import_)


@pytest.mark.parametrize("what", ["apply", "undo"])
def test_it_says_what_can_not_be_done(client: Client, alice: User, what: str) -> None:
    import_ = make_import(alice, state="FAILURE", phase="finished")

    assert 'class="note warning"' in post(client, import_, what)


def test_it_goes_back_into_the_admin_for_those_who_came_from_there(alice: User) -> None:
    import_ = run(received(numbered(1), user=alice))
    staff = signed_in(make_user("dora", is_staff=True, is_superuser=True))
    there = f"/admin/products/import/{import_.pk}/change/"

    answer = staff.post(f"/imports/{import_.pk}/undo/", {"next": there})

    assert answer["Location"] == f"/admin/products/import/{Import.objects.get(kind='undo').pk}/change/"


# --- reading a file again --------------------------------------------------------------------------


def test_it_shows_a_guessed_encoding_and_lets_it_be_changed(client: Client, alice: User) -> None:
    import_ = checked(alice, numbered(1), empty_cells="clear")
    Import.objects.filter(pk=import_.pk).update(detected={"encoding": "windows-1252", "encoding_from": "guess"})
    assert "The encoding is a guess: windows-1252" in page_of(client, import_)

    post(client, import_, "read-again", encoding="windows-1250", header_line="1")

    again = Import.objects.latest("id")
    assert (again.file_format, again.check_first) == ({"encoding": "windows-1250", "header_line": 1}, True)
    assert (again.empty_cells, again.sha256) == ("clear", import_.sha256)
    assert again.stored_file != import_.stored_file
    assert read(import_).state == "CANCELLED"


def test_it_leaves_an_applied_import_alone_when_its_file_is_read_again(client: Client, alice: User) -> None:
    import_ = run(received(numbered(1), user=alice))

    post(client, import_, "read-again", delimiter=";")

    assert read(import_).state == "SUCCESS"
    assert Import.objects.latest("id").file_format == {"delimiter": ";"}


def test_it_says_what_is_wrong_with_a_way_of_reading(client: Client, alice: User) -> None:
    import_ = checked(alice, numbered(1))

    text = post(client, import_, "read-again", encoding="klingon")

    assert "Name one such as utf-8" in text
    assert 'class="note warning"' in text
    assert read(import_).phase == "checked"


def test_it_says_that_a_file_is_not_kept_any_more(client: Client, alice: User) -> None:
    import_ = make_import(alice, state="SUCCESS", phase="finished")

    assert "not kept any more" in post(client, import_, "read-again")


def test_it_says_what_is_left_of_an_import_whose_file_was_removed(client: Client, alice: User) -> None:
    removed = {"state": "SUCCESS", "phase": "finished", "cleared_at": timezone.now()}

    assert "The file is not kept any more." in page_of(client, make_import(alice, **removed))
    assert "The file and its lists of rows are not kept any more." in page_of(
        client, make_import(alice, **removed, rows_rejected=2)
    )


def test_it_leads_on_from_a_file_that_failed(client: Client, alice: User) -> None:
    failed = {"state": "FAILURE", "phase": "finished", "mode": "update"}

    unreadable = page_of(client, make_import(alice, **failed, error_code="not_text"))
    bad = page_of(client, make_import(alice, **failed, error_code="too_many_rejects", max_rejects="5%"))

    assert re.search(r'href="/imports/new/\?mode=update[^"]*">Upload another file', unreadable)
    assert re.search(r'href="/imports/new/\?mode=update[^"]*max_rejects=5%25[^"]*">upload it again', bad)
    assert "5 % of the rows" in bad


def test_a_check_does_not_go_on_while_it_waits_to_be_decided() -> None:
    began = timezone.now() - timedelta(hours=2)
    waiting = Import(phase="checked", started_at=began, checked_at=began + timedelta(seconds=3))

    assert took(waiting) == timedelta(seconds=3)


def test_it_offers_the_other_sheets_of_a_workbook(client: Client, alice: User) -> None:
    found = {"container": "xlsx", "sheet": "Lamps", "sheets": ["Lamps", "Chairs"], "header_line": 3}
    import_ = make_import(alice, state="SUCCESS", phase="finished", detected=found)

    text = page_of(client, import_)

    assert "<option selected>Lamps</option><option>Chairs</option>" in text
    assert 'name="encoding"' not in text


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(status="inactive", search="oak"), "status inactive; “oak” in sku or name"),
        (Selection(ids=tuple(range(40))), "40 chosen ones"),
        (Selection(), "All of them"),
    ],
)
def test_it_says_which_products_were_meant_by_a_change_of_many(
    client: Client, alice: User, selection: Selection, words: str
) -> None:
    bulk = {"action": "activate", "selection": selection.as_dict()}
    import_ = make_import(alice, kind="bulk", bulk=bulk, stored_file="")

    assert f"<dd>{words}</dd>" in page_of(client, import_)


def test_it_says_that_the_same_file_was_imported_before(client: Client, alice: User) -> None:
    first = run(received(numbered(1), user=alice))
    second = checked(alice, numbered(1))

    assert "This same file was imported on" in page_of(client, second)
    assert f'/imports/{first.pk}/">see that import' in page_of(client, second)
    assert "This same file" not in page_of(client, first)


# --- the changes -----------------------------------------------------------------------------------


def test_it_turns_the_pages_of_changes_and_back(client: Client, alice: User) -> None:
    import_ = checked(alice, numbered(CHANGES_A_PAGE * 2 + 1))
    address = f"/imports/{import_.pk}/changes/"

    def skus(query: str) -> tuple[list[str], str | None, str | None]:
        text = text_of(client, address + query)
        links = {words: found for found, words in re.findall(r'href="[^"?]+(\?[^"]+)">(Previous|Next)<', text)}
        found = re.findall(r'class="sku">(SKU-\d+)', text)
        return found, links.get("Previous"), links.get("Next")

    first, none, forth = skus("")
    assert (len(first), none) == (CHANGES_A_PAGE, None)
    second, back, forth = skus(str(forth))
    third, _, end = skus(str(forth))
    assert end is None
    assert len({*first, *second, *third}) == CHANGES_A_PAGE * 2 + 1
    assert skus(str(back))[0] == first


def test_it_narrows_the_changes(client: Client, alice: User) -> None:
    imported(csv("sku,name,description", "A-1,Lamp,Oak", "A-2,Lamp,Oak", "B-1,Lamp,Oak"))
    import_ = checked(
        alice, csv("sku,name,description", "A-1,Shelf,Oak", "A-2,Lamp,Ash", "B-1,Shelf,Oak", "C-1,Lamp,Oak")
    )
    address = f"/imports/{import_.pk}/changes/"

    def skus(**query: str) -> list[str]:
        return re.findall(r'class="sku">([A-Z]-\d)', text_of(client, address, **query))

    for _ in ("planned", "applied"):
        assert skus(action="created") == ["C-1"]
        assert skus(action="updated", field="name") == ["A-1", "B-1"]
        assert skus(search="a-") == ["A-1", "A-2"]
        assert skus(search="zzz") == []
        assert skus(action="nonsense", field="nonsense", after="nonsense") == ["A-1", "A-2", "B-1", "C-1"]
        post(client, import_, "apply")
        run(import_)


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("Desk lamp, oak", "Desk lamp, ash", ("Desk lamp, ", "oak", "ash", "")),
        ("10 cm", "100 cm", ("", "10", "100", " cm")),
        ("Lamp", "Lamp, round", ("Lamp", "", ", round", "")),
        ("Matte oak lamp", "Matte lamp", ("Matte ", "oak ", "", "lamp")),
        ("", "New", ("", None, "New", "")),
    ],
)
def test_it_marks_what_differs_by_whole_words(old: str, new: str, expected: tuple[str | None, ...]) -> None:
    found = difference("name", old, new)

    assert (found.before, found.old, found.new, found.after) == expected


def test_it_escapes_what_stood_in_the_file(client: Client, alice: User) -> None:
    import_ = checked(alice, csv("sku,name", "<b>1</b>,<script>alert(1)</script>"))

    assert "<script>alert" not in page_of(client, import_)


# --- the rows ------------------------------------------------------------------------------------


def reject(import_: Import, line: int, *errors: tuple[str, str]) -> ReportedRow:
    found = [{"column": column, "code": code, "message": f"{code} in line {line}"} for column, code in errors]
    return ReportedRow(source_import=import_, line_number=line, outcome="rejected", errors=found, cells=["x", "y"])


def test_it_groups_the_rejected_rows_by_their_cause(alice: User) -> None:
    import_ = make_import(alice)
    rows = [reject(import_, line, ("status", "unknown_status")) for line in range(2, 22)]
    rows.append(reject(import_, 30, ("name", "too_long"), ("status", "unknown_status")))
    ReportedRow.objects.bulk_create(rows)

    first, second = report.causes(import_, "rejected")

    assert (first.code, first.column, first.count, first.lines) == ("unknown_status", "status", 21, [2, 3, 4, 5, 6])
    assert first.message == "unknown_status in line 2"
    assert (second.code, second.count, second.lines) == ("too_long", 1, [30])
    assert [row.line_number for row in report.rows_of(import_, "rejected", code="too_long", column="name")] == [30]


def test_it_looks_at_a_bounded_number_of_rejected_rows(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ROWS_LOOKED_AT", 3)
    import_ = make_import(alice, state="SUCCESS", phase="finished", rows_rejected=5, rows_read=5)
    ReportedRow.objects.bulk_create([reject(import_, line, ("name", "too_long")) for line in range(2, 7)])

    assert [cause.count for cause in report.causes(import_, "rejected")] == [3]


def test_it_shows_all_rows_of_a_cause_a_page_at_a_time(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_pages, "ROWS_A_PAGE", 2)
    import_ = make_import(alice, state="SUCCESS", phase="finished", rows_rejected=4, header=["sku", "name"])
    rows = [reject(import_, line, ("name", "too_long")) for line in (2, 3, 5)]
    ReportedRow.objects.bulk_create([*rows, reject(import_, 4, ("sku", "sku_missing"))])
    query = {"outcome": "rejected", "code": "too_long", "column": "name"}

    first = text_of(client, f"/imports/{import_.pk}/rows/", **query)
    assert re.findall(r'class="right">(\d+)</th>', first) == ["2", "3"]
    link = re.search(r'href="\?([^"]+)">Next', first)
    assert link
    second = text_of(client, f"/imports/{import_.pk}/rows/?{link[1]}".replace("&amp;", "&"))
    assert re.findall(r'class="right">(\d+)</th>', second) == ["5"]


# --- small files ---------------------------------------------------------------------------------


def test_it_waits_a_moment_for_the_end_of_a_small_file(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import_ = make_import(alice, dispatched_at=timezone.now())
    Import.objects.filter(pk=import_.pk).update(state="SUCCESS", phase="finished")

    assert import_page.settled(import_).state == "SUCCESS"


@pytest.mark.parametrize(
    "fields",
    [
        {"dispatched_at": None},
        {"dispatched_at": timezone.now() - timedelta(minutes=1)},
        {"dispatched_at": timezone.now() + timedelta(days=1), "bytes_total": 100_000_000},
    ],
)
def test_it_does_not_wait_for_what_takes_longer(alice: User, fields: dict[str, Any]) -> None:
    import_ = make_import(alice, **fields)
    Import.objects.filter(pk=import_.pk).update(state="SUCCESS", phase="finished")

    assert import_page.settled(import_).state == "PENDING"


# --- the list ------------------------------------------------------------------------------------


def listed(client: Client, **query: str) -> list[str]:
    text = text_of(client, "/imports/", **query)
    return re.findall(r'class="file"><a href="[^"]+">([^<]+)</a>', text)


def test_it_narrows_the_list(client: Client, alice: User) -> None:
    make_import(alice, file_name="done.csv", state="SUCCESS", phase="finished")
    make_import(alice, file_name="checked.csv", phase="checked", check_first=True)
    make_import(alice, file_name="waiting.csv")
    make_import(alice, file_name="Undo of done.csv", kind="undo", state="SUCCESS", phase="finished")
    old = make_import(alice, file_name="old.csv", state="FAILURE", phase="finished")
    Import.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=10))
    today, last_week = timezone.now().date(), timezone.now().date() - timedelta(days=7)

    assert listed(client, state="CHECKED") == ["checked.csv"]
    assert listed(client, state="PENDING") == ["waiting.csv"]
    assert listed(client, kind="undo") == ["Undo of done.csv"]
    assert listed(client, file="DONE") == ["Undo of done.csv", "done.csv"]
    assert listed(client, until=str(last_week)) == ["old.csv"]
    assert len(listed(client, since=str(last_week), until=str(today))) == 4
    assert len(listed(client, state="nonsense", since="nonsense", kind="x")) == 5


def test_it_lets_those_who_see_all_imports_look_for_somebodys(client: Client, alice: User) -> None:
    make_import(alice, file_name="alices.csv")
    carol = make_user("carol", "view_import")
    make_import(carol, file_name="carols.csv")

    assert listed(signed_in(carol), who="ali") == ["alices.csv"]
    assert listed(client, who="carol") == ["alices.csv"]


def test_it_keeps_the_filter_while_turning_pages(client: Client, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("products.import_lists.IMPORTS_A_PAGE", 1)
    for name in ("a-1.csv", "b-1.csv", "a-2.csv"):
        make_import(alice, file_name=name)

    text = text_of(client, "/imports/", file="a-")
    older = re.search(r'href="(\?[^"]+)">Older', text)
    assert older
    assert listed(client) == ["a-2.csv"]
    second = text_of(client, "/imports/" + older[1].replace("&amp;", "&"))
    assert "a-1.csv</a>" in second
    assert "b-1.csv" not in second


def test_a_strangers_changes_and_rows_are_not_there(client: Client) -> None:
    import_ = make_import(make_user("bob"))

    for part in ("changes", "rows"):
        assert client.get(f"/imports/{import_.pk}/{part}/").status_code == 404
