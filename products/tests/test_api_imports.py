"""`/api/v1/imports/`, as a program sees it: a file in, and word of what became of it."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any
from urllib.parse import unquote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from common.ids import uuid7
from products import progress
from products.api.rejects_csv import rejects_csv
from products.api.serializers import ImportDocument
from products.importing.columns import read_layout
from products.importing.formulas import without_mark
from products.models import Import, ReportedRow

pytestmark = pytest.mark.django_db

IMPORTS = "/api/v1/imports/"
CSV = b"sku,name\nLAMP-1,Lamp\n"


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    return client_of(ada, "import")


def client_of(user: User, *scopes: str) -> APIClient:
    _, full = token_of(user, *scopes)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


def make_import(user: User | None, **fields: Any) -> Import:
    values = {"file_name": "products.csv", "stored_file": "x", "sha256": "0" * 64, "bytes_total": 10, **fields}
    return Import.objects.create(created_by=user, **values)


def make_row(import_: Import, line: int, cells: list[str], message: str = "Wrong.", **fields: Any) -> ReportedRow:
    errors = [{"column": "name", "code": "name_too_long", "message": message}]
    values = {"outcome": "rejected", "errors": errors, **fields}
    return ReportedRow.objects.create(source_import=import_, line_number=line, cells=cells, **values)


# --- sending a file ----------------------------------------------------------------------------


def test_a_form_with_a_file_starts_an_import(client: APIClient, ada: User) -> None:
    file = SimpleUploadedFile("spring.csv", CSV, "text/csv")

    answer = client.post(IMPORTS, {"file": file, "mode": "create", "on_error": "abort", "max_rejects": "7"})

    assert answer.status_code == 202
    body = answer.json()
    assert answer["Location"] == f"{IMPORTS}{body['id']}/"
    assert answer["Retry-After"] == "1"
    assert body["task_id"] == body["id"]
    import_ = Import.objects.get(pk=body["id"])
    assert (import_.file_name, import_.bytes_total, import_.created_by) == ("spring.csv", len(CSV), ada)
    assert (import_.mode, import_.on_error, import_.max_rejects) == ("create", "abort", "7")


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=utf-8", "application/octet-stream"])
def test_a_body_that_is_the_file_starts_an_import(client: APIClient, content_type: str) -> None:
    url = f"{IMPORTS}?mode=update&file_name=spring.csv"

    answer = client.generic("POST", url, CSV, content_type=content_type)

    assert answer.status_code == 202
    body = answer.json()
    assert (body["file_name"], body["mode"], body["bytes_total"]) == ("spring.csv", "update", len(CSV))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.csv"', "a b.csv"),
        ("attachment; filename*=UTF-8''%C3%84pfel.csv", "Äpfel.csv"),
        ("", "upload.csv"),
    ],
)
def test_a_bare_file_may_be_named_in_its_header(client: APIClient, header: str, name: str) -> None:
    answer = client.generic("POST", IMPORTS, CSV, content_type="text/csv", headers={"content-disposition": header})

    assert answer.json()["file_name"] == name


def test_the_answer_is_what_everybody_is_shown_of_the_import(client: APIClient) -> None:
    body = client.generic("POST", IMPORTS, CSV, content_type="text/csv").json()

    assert set(body) == set(progress.ImportDocument.__annotations__) == set(ImportDocument().fields)
    assert set(body["links"]) == set(progress.ImportLinks.__annotations__)
    assert client.get(body["links"]["self"]).json()["id"] == body["id"]


def test_a_request_without_a_file_is_told_how_to_send_one(client: APIClient) -> None:
    answers = [
        client.post(IMPORTS, {"mode": "create"}),
        client.post(IMPORTS, {"file": "text, no file"}),
        client.generic("POST", IMPORTS, b"", content_type="text/csv"),
        client.generic("POST", IMPORTS),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (400, "file_missing")
        assert "text/csv" in answer.json()["detail"]
    assert not Import.objects.exists()


def test_other_types_of_body_are_refused(client: APIClient) -> None:
    answer = client.generic("POST", IMPORTS, CSV, content_type="text/plain")

    assert (answer.status_code, answer["Content-Type"]) == (415, "application/problem+json")


@pytest.mark.parametrize("length", [None, "21"])
def test_a_body_sent_in_pieces_of_unknown_number_is_refused(client: APIClient, length: str | None) -> None:
    declared = {} if length is None else {"CONTENT_LENGTH": length}

    answer = client.generic("POST", IMPORTS, CSV, content_type="text/csv", HTTP_TRANSFER_ENCODING="chunked", **declared)

    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_a_file_that_is_too_large_is_refused_by_its_length_alone(client: APIClient, settings: Any) -> None:
    settings.IMPORT_MAX_BYTES = 1_000
    unread = Unreadable()

    answer = client.generic(
        "POST", IMPORTS, b"x", content_type="text/csv", CONTENT_LENGTH="10000000", **{"wsgi.input": unread}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "1,000 bytes" in answer.json()["detail"]


class Unreadable:
    """A body that must not be touched."""

    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")

    readline = read


def test_a_file_may_be_larger_than_other_bodies(client: APIClient, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10

    raw = client.generic("POST", IMPORTS, CSV, content_type="text/csv")
    form = client.post(IMPORTS, {"file": SimpleUploadedFile("a.csv", CSV)})

    assert (raw.status_code, form.status_code) == (202, 202)


@pytest.mark.parametrize(
    ("query", "code", "word"),
    [
        ("mode=replace", "invalid", "replace"),
        ("max_rejects=many", "invalid", "many"),
        ("on_eror=abort", "unknown_parameter", "on_eror"),
        ("check_first=on", "invalid", "Use true or false"),
    ],
)
def test_options_that_are_not_understood_are_refused(client: APIClient, query: str, code: str, word: str) -> None:
    answer = client.generic("POST", f"{IMPORTS}?{query}", CSV, content_type="text/csv")

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert word in answer.json()["detail"]
    assert not Import.objects.exists()


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"on_eror": "abort"}, "unknown_parameter", "on_eror"),
        ({"mode": ["create", "update"]}, "repeated_parameter", "mode is given 2 times"),
        ({"check_first": "1"}, "invalid", "Use true or false"),
        ({"file": SimpleUploadedFile("a.csv", b"")}, "file_missing", "nothing in it"),
    ],
)
def test_parts_of_a_form_that_are_not_understood_are_refused(
    client: APIClient, fields: dict[str, Any], code: str, word: str
) -> None:
    answer = client.post(IMPORTS, {"file": SimpleUploadedFile("a.csv", CSV), **fields})

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert word in answer.json()["detail"]
    assert not Import.objects.exists()


@pytest.mark.parametrize("query", ["sha256=", "sha256=abc", "state="])
def test_a_filter_without_a_value_does_not_find_everything(client: APIClient, query: str) -> None:
    assert client.get(f"{IMPORTS}?{query}").status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_rejects_are_only_read_whatever_type_is_asked_for(client: APIClient, ada: User, method: str) -> None:
    address = f"{IMPORTS}{make_import(ada).pk}/rejects.csv?format=csv"

    assert getattr(client, method)(address).status_code == 405


def test_sending_a_file_needs_the_scope_import_before_its_body_is_read(ada: User) -> None:
    client = client_of(ada, "read", "write")

    answer = client.generic("POST", IMPORTS, b"x", content_type="text/csv", **{"wsgi.input": Unreadable()})

    assert answer.status_code == 403
    assert APIClient().generic("POST", IMPORTS, b"x", "text/csv", **{"wsgi.input": Unreadable()}).status_code == 401


# --- asking ------------------------------------------------------------------------------------


def test_one_sees_ones_own_imports_newest_first(client: APIClient, ada: User) -> None:
    first = make_import(ada, id=uuid.UUID(int=1))
    second = make_import(ada, state="SUCCESS")
    make_import(User.objects.create_user("bob"))

    body = client.get(IMPORTS).json()

    assert [row["id"] for row in body["results"]] == [str(second.pk), str(first.pk)]
    assert [row["id"] for row in client.get(f"{IMPORTS}?state=SUCCESS").json()["results"]] == [str(second.pk)]
    assert client.get(f"{IMPORTS}?state=done").status_code == 400


def test_the_pages_of_the_list_join_without_gap_or_repetition(client: APIClient, ada: User) -> None:
    made = [str(make_import(ada).pk) for _ in range(5)]

    seen, url = [], f"{IMPORTS}?page_size=2"
    while url:
        page = client.get(url).json()
        seen += [row["id"] for row in page["results"]]
        url = page["next"]

    assert seen == sorted(made, reverse=True)


def test_a_list_costs_the_same_number_of_queries_however_long_it_is(
    client: APIClient, ada: User, django_assert_max_num_queries: Any
) -> None:
    for _ in range(5):
        make_import(ada)

    with django_assert_max_num_queries(5):  # token, its last use, permissions (2), rows with their people
        client.get(IMPORTS)


def test_what_is_not_yours_does_not_exist(client: APIClient) -> None:
    theirs = make_import(User.objects.create_user("bob"))

    for import_id in (theirs.pk, uuid7(), "nonsense", uuid.UUID(int=0)):
        for method, path in (("get", ""), ("post", "cancel/"), ("get", "rejects/"), ("get", "rejects.csv")):
            answer = getattr(client, method)(f"{IMPORTS}{import_id}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    theirs.refresh_from_db()
    assert theirs.cancel_requested_at is None


# --- cancelling --------------------------------------------------------------------------------


def test_an_import_can_be_cancelled(client: APIClient, ada: User) -> None:
    import_ = make_import(ada)

    answer = client.post(f"{IMPORTS}{import_.pk}/cancel/")

    assert answer.status_code == 202
    assert answer.json()["id"] == str(import_.pk)
    assert answer.json()["state"] == "CANCELLED"


def test_what_has_finished_can_not_be_cancelled(client: APIClient, ada: User) -> None:
    import_ = make_import(ada, state="SUCCESS", phase="finished", finished_at=timezone.now())

    answer = client.post(f"{IMPORTS}{import_.pk}/cancel/")

    assert (answer.status_code, answer.json()["code"]) == (409, "import_finished")


def test_reading_is_enough_to_follow_and_not_to_cancel(ada: User) -> None:
    import_ = make_import(ada)
    reader, writer = client_of(ada, "read"), client_of(ada, "write")

    assert reader.get(f"{IMPORTS}{import_.pk}/").status_code == 200
    assert reader.get(f"{IMPORTS}{import_.pk}/rejects/").status_code == 200
    assert reader.post(f"{IMPORTS}{import_.pk}/cancel/").status_code == 403
    assert writer.get(IMPORTS).status_code == 403


# --- rows that were not applied ----------------------------------------------------------------


def test_rejected_rows_come_in_the_order_of_the_file(client: APIClient, ada: User) -> None:
    import_ = make_import(ada)
    make_row(import_, 12, ["B", "x"], "Too long.")
    make_row(import_, 3, ["A"])
    make_row(import_, 4, ["A"], outcome="duplicate")

    rows = client.get(f"{IMPORTS}{import_.pk}/rejects/").json()["results"]

    assert [row["line_number"] for row in rows] == [3, 12]
    assert rows[1] == {
        "line_number": 12,
        "outcome": "rejected",
        "column": "name",
        "code": "name_too_long",
        "message": "Too long.",
        "errors": [{"column": "name", "code": "name_too_long", "message": "Too long."}],
        "cells": ["B", "x"],
    }


def test_rejected_rows_come_in_pages(client: APIClient, ada: User) -> None:
    import_ = make_import(ada)
    for line in range(2, 9):
        make_row(import_, line, [])

    seen, url = [], f"{IMPORTS}{import_.pk}/rejects/?page_size=3"
    while url:
        page = client.get(url).json()
        seen += [row["line_number"] for row in page["results"]]
        url = page["next"]

    assert seen == list(range(2, 9))


def test_rejected_rows_are_counted_by_their_cause(client: APIClient, ada: User) -> None:
    import_ = make_import(ada, rows_rejected=3)
    for line in (7, 2, 5):
        make_row(import_, line, ["", "x"], message=f"Line {line} is wrong.")

    answer = client.get(f"/api/v1/imports/{import_.pk}/rejects/summary/")

    assert answer.json()["rows_looked_at"] == 3
    (cause,) = answer.json()["results"]
    assert (cause["count"], cause["lines"], cause["message"]) == (3, [2, 5, 7], "Line 2 is wrong.")


def test_rows_replaced_by_a_later_line_are_asked_for_by_outcome(client: APIClient, ada: User) -> None:
    import_ = make_import(ada, header=["sku"])
    make_row(import_, 2, ["A"], outcome="duplicate")
    url = f"{IMPORTS}{import_.pk}/rejects"

    assert [row["line_number"] for row in client.get(f"{url}/?outcome=duplicate").json()["results"]] == [2]
    assert client.get(f"{url}/").json()["results"] == []
    assert len(text_of(client.get(f"{url}.csv?outcome=duplicate")).splitlines()) == 2
    assert client.get(f"{url}/?outcome=lost").status_code == 400


def text_of(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_the_csv_of_rejected_rows_has_the_cells_as_they_were(client: APIClient, ada: User) -> None:
    import_ = make_import(ada, header=["SKU", "Name"], file_name="spring.csv")
    make_row(import_, 3, ['5"', " a\r\nb, ü"], "Wrong.")

    answer = client.get(f"{IMPORTS}{import_.pk}/rejects.csv")

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="rejected-spring.csv"'
    assert answer["Content-Length"] == "54"  # so that nobody takes a part of it for the whole
    assert text_of(answer) == ('\ufeff_line,_error,SKU,Name\r\n3,Wrong.,"5"""," a\r\nb, ü"\r\n')


@pytest.mark.parametrize("accept", ["text/csv", "application/json", "*/*"])
def test_the_csv_is_given_to_whoever_asks_for_it(client: APIClient, ada: User, accept: str) -> None:
    import_ = make_import(ada, header=["sku"])

    answer = client.get(f"{IMPORTS}{import_.pk}/rejects.csv", headers={"accept": accept})
    missing = client.get(f"{IMPORTS}{uuid7()}/rejects.csv", headers={"accept": accept})

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert text_of(answer) == "\ufeff_line,_error,sku\r\n"
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/problem+json")


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠1"]


def test_no_cell_of_the_csv_of_rejected_rows_is_a_formula_and_an_import_reads_the_same(ada: User) -> None:
    harmless = ["-5", "+49.5", "a=b", "'=1+1", "'quoted'", ""]
    cells = [*FORMULAS, *harmless]
    import_ = make_import(ada, header=["=header", *(f"column {n}" for n in range(1, len(cells)))])
    make_row(import_, 2, cells, "=Wrong.")

    header, row = csv.reader(io.StringIO("".join(rejects_csv(import_, "rejected")), newline=""))

    assert header[2] == "'=header"
    assert row == ["2", "'=Wrong.", *(f"'{cell}" for cell in FORMULAS), *harmless]
    assert [without_mark(cell) for cell in row[2:]] == [without_mark(cell) for cell in cells]


@pytest.mark.parametrize("sign", ["", "'"])
def test_a_header_that_could_be_a_formula_is_found_with_and_without_its_mark(sign: str) -> None:
    layout = read_layout(["sku", f"{sign}=size"], 1, {f"{sign}=size": "name"})

    assert layout.positions == {"sku": 0, "name": 1}
    assert read_layout(["sku", f"{sign}=size"], 1).ignored_columns == ("=size",)


def test_a_row_with_a_wrong_number_of_cells_stays_recognisable(ada: User) -> None:
    import_ = make_import(ada, header=["sku", "name", "status"])
    make_row(import_, 2, ["A"], "Too few.")
    make_row(import_, 3, ["B", "x", "active", "more"], "Too many.")

    rows = list(csv.reader(io.StringIO("".join(rejects_csv(import_, "rejected")), newline="")))

    assert [len(row) - len(rows[0]) for row in rows[1:]] == [-2, 1]
    assert [row[0] for row in rows[1:]] == ["2", "3"]


def test_the_csv_of_a_csv_of_rejected_rows_has_our_columns_once(ada: User) -> None:
    import_ = make_import(ada, header=["_line", "_error", "sku", "name"])
    make_row(import_, 2, ["7", "Old reason.", "A"], "New reason.")

    lines = "".join(rejects_csv(import_, "rejected")).splitlines()

    assert lines == ["\ufeff_line,_error,sku,name", "2,New reason.,A"]


def test_the_csv_of_rejected_rows_names_all_reasons(ada: User) -> None:
    import_ = make_import(ada, header=["sku"])
    errors = [{"column": "a", "code": "x", "message": "One."}, {"column": "b", "code": "y", "message": "Two."}]
    make_row(import_, 2, ["A"], errors=errors)

    assert "2,One. Two.,A" in "".join(rejects_csv(import_, "rejected"))


@pytest.mark.parametrize(
    "name", ["a\r\nSet-Cookie: x.csv", '../../etc/"passwd".csv', "Äpfel;.csv", "", "...", "a/b.csv"]
)
def test_no_name_of_a_file_can_break_the_header_of_the_answer(client: APIClient, ada: User, name: str) -> None:
    import_ = make_import(ada, header=["sku"], file_name=name)

    answer = client.get(f"{IMPORTS}{import_.pk}/rejects.csv")

    disposition = unquote(answer["Content-Disposition"])
    assert answer.status_code == 200
    assert text_of(answer)
    assert disposition.startswith("attachment; filename")
    assert not set("/\\\r\n;") & set(disposition.partition("rejected-")[2].rstrip('"'))
