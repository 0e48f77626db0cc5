"""What the upload page asks the server for, besides taking a file."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from accounts.tests.people import token_of
from products.importing import columns, mappings
from products.importing.options import FORMAT_NAMES, OPTION_NAMES, ImportOptions
from products.models import Import, SavedMapping
from products.tests.test_views import make_import, make_user, signed_in
from products.upload_page import DELIMITERS, ENCODINGS, QUOTES

pytestmark = pytest.mark.django_db

DIGEST = "a" * 64


@pytest.fixture
def alice() -> User:
    return make_user("alice", "add_import")


def propose(client: Client, headers: Any) -> Any:
    body = json.dumps({"headers": headers})
    return client.post("/api/v1/imports/mapping/", body, content_type="application/json")


# --- where columns go --------------------------------------------------------------------------


def test_columns_go_by_their_names(alice: User) -> None:
    answer = propose(signed_in(alice), ["Product SKU", " Title ", "colour", ""])

    assert answer.status_code == 200
    assert answer.json() == {
        "mapping": {"Product SKU": "sku", "Title": "name", "colour": "", "(column 4)": ""},
        "remembered": False,
    }


def test_columns_go_where_the_last_such_file_had_them(alice: User) -> None:
    mappings.remember(["Artikel", "name"], {"Artikel": "sku"}, alice)

    answer = propose(signed_in(alice), ["name", "Artikel"])

    assert answer.json() == {"mapping": {"name": "name", "Artikel": "sku"}, "remembered": True}
    assert SavedMapping.objects.count() == 1


@pytest.mark.parametrize("headers", [None, "sku", [1, {}], ["x"] * (columns.MAX_COLUMNS + 1)])
def test_headers_that_are_none_are_refused(alice: User, headers: Any) -> None:
    answer = propose(signed_in(alice), headers)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"].startswith("/headers")


def test_only_who_may_import_is_told_of_mappings() -> None:
    assert propose(signed_in(make_user("bob")), ["sku"]).status_code == 403


# --- the same file -----------------------------------------------------------------------------


def test_imports_are_found_by_their_file(alice: User) -> None:
    same = make_import(alice, sha256=DIGEST)
    make_import(alice)
    make_import(make_user("bob"), sha256=DIGEST)

    answer = signed_in(alice).get(f"/api/v1/imports/?sha256={DIGEST.upper()}")

    assert [each["id"] for each in answer.json()["results"]] == [str(same.pk)]


@pytest.mark.parametrize("digest", ["abc", "g" * 64, "a" * 65])
def test_what_is_no_digest_is_refused(alice: User, digest: str) -> None:
    answer = signed_in(alice).get(f"/api/v1/imports/?sha256={digest}")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/sha256"


# --- the form ----------------------------------------------------------------------------------


def test_the_template_is_a_file_that_can_be_imported(alice: User) -> None:
    client = signed_in(alice)
    template = client.get("/imports/template.csv")

    assert 'filename="products.csv"' in template["Content-Disposition"]
    client.post("/imports/new/", {"file": SimpleUploadedFile("products.csv", template.content)})
    assert Import.objects.count() == 1


def test_the_form_offers_every_option(alice: User) -> None:
    text = signed_in(alice).get("/imports/new/").content.decode()

    assert set(re.findall(r'name="(\w+)"', text)) >= {*OPTION_NAMES, *FORMAT_NAMES}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, choices in zip(FORMAT_NAMES, (ENCODINGS, DELIMITERS, QUOTES), strict=False)
        for value, _ in choices
    ],
)
def test_every_choice_of_a_format_is_one_that_is_understood(name: str, value: str) -> None:
    assert getattr(ImportOptions.parse({name: value}).file_format, name) is not None


def test_the_form_takes_every_option(alice: User) -> None:
    mapping = {"Artikel": "sku", "Farbe": "attributes.colour"}
    fields = {
        "mode": "update",
        "duplicates": "first",
        "empty_cells": "clear",
        "check_first": "true",
        "max_deactivated": "5",
        "mapping": json.dumps(mapping),
        "delimiter": "tab",
        "quote": "none",
        "header_line": "2",
        "encoding": "windows-1252",
    }
    signed_in(alice).post("/imports/new/", {"file": SimpleUploadedFile("a.csv", b"Artikel\n1\n"), **fields})

    import_ = Import.objects.get()
    assert (import_.mode, import_.duplicates, import_.empty_cells) == ("update", "first", "clear")
    assert (import_.check_first, import_.max_deactivated, import_.mapping) == (True, "5", mapping)
    assert import_.file_format == {"delimiter": "\t", "quote": "", "header_line": 2, "encoding": "windows-1252"}


def test_a_refused_form_keeps_what_was_chosen_and_marks_what_is_wrong(alice: User) -> None:
    fields = {"max_rejects": "many", "encoding": "gb18030", "duplicates": "first", "check_first": "true"}

    answer = signed_in(alice).post("/imports/new/", {"file": SimpleUploadedFile("a.csv", b"sku\n1\n"), **fields})

    text = answer.content.decode()
    assert answer.status_code == 400
    assert re.search(r'<input[^>]*name="max_rejects" value="many"[^>]*aria-invalid="true"', text)
    assert '<a href="#max_rejects">max_rejects “many” is not understood.' in text
    assert '<option value="gb18030" selected>' in text
    assert '<option value="first" selected>' in text
    assert re.search(r'name="check_first"[^>]* checked', text)
    assert '<details class="more" open>' in text


def test_the_page_is_told_how_headers_are_matched(alice: User) -> None:
    text = signed_in(alice).get("/imports/new/").content.decode()

    found = re.search(r'<script id="product-columns" type="application/json">(.*?)</script>', text)
    assert found
    told = json.loads(found[1])
    assert told["names"] == [column.name for column in columns.COLUMNS]
    for header, name in told["by_header"].items():
        column = columns.find(header)
        assert column and column.name == name


def test_a_token_may_ask_too() -> None:
    _, token = token_of(User.objects.create_user("ada"), "import")

    answer = propose(Client(headers={"Authorization": f"Bearer {token}"}), ["sku"])

    assert answer.json()["mapping"] == {"sku": "sku"}
