"""The pages for people, read as the server sends them."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.models import User
from products.models import Import, ReportedRow

pytestmark = pytest.mark.django_db

CSV = b"sku,name\nLAMP-1,Desk lamp\n"


def make_user(username: str, *permissions: str, **fields: Any) -> User:
    user = User.objects.create_user(username, password="a long password", **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def make_import(owner: User | None, **fields: Any) -> Import:
    return Import.objects.create(
        **{"file_name": "lamps.csv", "stored_file": "none", "sha256": "0" * 64, "bytes_total": 1000}
        | {"created_by": owner}
        | fields
    )


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def alice() -> User:
    return make_user("alice", "add_import")


@pytest.fixture
def bob() -> User:
    return make_user("bob")


@pytest.fixture
def carol() -> User:
    return make_user("carol", "view_import", "add_import", is_staff=True)


# --- who sees what -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/imports/", "/imports/new/", "/imports/{id}/"])
def test_it_sends_anonymous_readers_to_the_login(alice: User, client: Client, path: str) -> None:
    page = path.format(id=make_import(alice).pk)

    answer = client.get(page)

    assert answer.status_code == 302
    assert answer["Location"] == f"/login/?next={page}"


def test_it_shows_an_import_to_its_owner(alice: User) -> None:
    import_ = make_import(alice)

    answer = signed_in(alice).get(f"/imports/{import_.pk}/")

    assert answer.status_code == 200
    assert "lamps.csv" in answer.content.decode()


def test_it_tells_a_stranger_that_there_is_no_such_import(alice: User, bob: User) -> None:
    import_ = make_import(alice)

    answer = signed_in(bob).get(f"/imports/{import_.pk}/")

    assert answer.status_code == 404
    assert "lamps.csv" not in answer.content.decode()


def test_it_lists_only_the_readers_own_imports(alice: User, bob: User) -> None:
    make_import(alice, file_name="alices.csv")
    make_import(bob, file_name="bobs.csv")

    text = signed_in(bob).get("/imports/").content.decode()

    assert "bobs.csv" in text
    assert "alices.csv" not in text


def test_it_lists_everybodys_imports_to_staff_who_may_see_them(alice: User, carol: User) -> None:
    make_import(alice, file_name="alices.csv")

    assert "alices.csv" in signed_in(carol).get("/imports/").content.decode()


def test_it_turns_the_pages_of_the_list_without_losing_an_import(alice: User) -> None:
    names = [f"file-{number:02d}.csv" for number in range(51)]
    ids = sorted(Import().pk for _ in names)
    for pk, name in zip(ids, names, strict=True):
        make_import(alice, pk=pk, file_name=name)

    first = signed_in(alice).get("/imports/").content.decode()
    older = re.search(r'href="(\?before=[^"]+)"', first)
    assert older
    second = signed_in(alice).get(f"/imports/{older[1]}").content.decode()

    found = re.findall(r"file-\d\d\.csv(?=</a>)", first) + re.findall(r"file-\d\d\.csv(?=</a>)", second)
    assert found == names[::-1]


# --- one import --------------------------------------------------------------------------------


def test_it_shows_how_far_a_running_import_is_without_javascript(alice: User) -> None:
    now = timezone.now()
    import_ = make_import(
        alice,
        state="PROGRESS",
        phase="merging",
        bytes_read=500,
        rows_read=1234,
        rows_created=600,
        percent=42,
        started_at=now,
        heartbeat_at=now,
    )

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert '<noscript><meta http-equiv="refresh"' in text
    assert "1,234" in text
    assert "<title>42 % · lamps.csv</title>" in text
    assert 'value="50.0" data-bar="reading"' in text
    assert 'value="24.3" data-bar="writing"' in text
    assert "Cancel this import" in text


def test_it_adds_up_what_a_finished_import_came_to(alice: User) -> None:
    counts = {"rows_read": 2100, "rows_created": 1000, "rows_updated": 1000, "rows_unchanged": 90}
    import_ = make_import(alice, state="SUCCESS", phase="finished", rows_rejected=8, rows_duplicate=2, **counts)

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert "2,100 rows read = 1,000 created + 1,000 updated + 90 unchanged + 8 rejected + 2 duplicate" in text
    assert "http-equiv" not in text
    assert "data-socket" not in text
    assert "Cancel this import" not in text


def test_it_shows_rejected_rows_with_line_reason_and_cells(alice: User) -> None:
    import_ = make_import(
        alice, state="SUCCESS", phase="finished", rows_read=1, rows_rejected=1, header=["Item-Code", "name", "colour"]
    )
    error = {"column": "sku", "code": "sku_empty", "message": "The sku is empty."}
    ReportedRow.objects.create(
        source_import=import_, line_number=1337, outcome="rejected", errors=[error], cells=["", "<b>Lamp</b>"]
    )

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert "1337" in text
    assert "The sku is empty." in text
    assert "&lt;b&gt;Lamp&lt;/b&gt;" in text
    assert text.count('class="cell wrong"') == 1
    assert f'href="/api/v1/imports/{import_.pk}/rejects.csv"' in text


def test_it_shows_the_reason_of_a_failure_with_its_code(alice: User) -> None:
    words = "The file is empty: it has not even a header row."
    import_ = make_import(alice, state="FAILURE", phase="finished", error_code="file_empty", error_message=words)

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert words in text
    assert "file_empty" in text


def test_it_names_the_columns_it_left_out(alice: User) -> None:
    import_ = make_import(alice, state="SUCCESS", phase="finished", ignored_columns=["colour", "weight"])

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert "<code>colour</code>, <code>weight</code>" in text


def test_it_says_that_a_running_import_gives_no_sign_of_life(alice: User) -> None:
    long_ago = timezone.now() - timedelta(minutes=1)
    import_ = make_import(alice, state="PROGRESS", phase="staging", started_at=long_ago, heartbeat_at=long_ago)

    text = signed_in(alice).get(f"/imports/{import_.pk}/").content.decode()

    assert re.search(r'<div class="note warning" data-stalled\s*>', text)


# --- cancelling --------------------------------------------------------------------------------


def test_it_cancels_by_a_plain_form(alice: User) -> None:
    import_ = make_import(alice)

    answer = signed_in(alice).post(f"/imports/{import_.pk}/cancel/", follow=True)

    import_.refresh_from_db()
    assert import_.cancel_requested_at or import_.state == "CANCELLED"
    assert "Nothing of it" in answer.content.decode()


def test_it_says_that_a_finished_import_cannot_be_cancelled(alice: User) -> None:
    import_ = make_import(alice, state="SUCCESS", phase="finished")

    answer = signed_in(alice).post(f"/imports/{import_.pk}/cancel/", follow=True)

    assert 'class="note warning"' in answer.content.decode()
    import_.refresh_from_db()
    assert import_.state == "SUCCESS"


def test_it_lets_nobody_cancel_who_may_not_import(bob: User) -> None:
    import_ = make_import(bob)

    answer = signed_in(bob).post(f"/imports/{import_.pk}/cancel/")

    assert answer.status_code == 403
    import_.refresh_from_db()
    assert import_.cancel_requested_at is None


def test_it_goes_on_only_to_pages_of_its_own(alice: User) -> None:
    import_ = make_import(alice)

    answer = signed_in(alice).post(f"/imports/{import_.pk}/cancel/", {"next": "https://example.com/"})

    assert answer["Location"] == f"/imports/{import_.pk}/"


# --- uploading ---------------------------------------------------------------------------------


def test_it_takes_a_file_by_a_plain_form(alice: User) -> None:
    fields = {"file": SimpleUploadedFile("lamps.csv", CSV), "mode": "create", "on_error": "abort", "max_rejects": "5"}

    answer = signed_in(alice).post("/imports/new/", fields)

    import_ = Import.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/imports/{import_.pk}/"
    assert (import_.file_name, import_.bytes_total, import_.created_by) == ("lamps.csv", len(CSV), alice)
    assert (import_.mode, import_.on_error, import_.max_rejects) == ("create", "abort", "5")


def test_it_says_that_no_file_was_chosen(alice: User) -> None:
    answer = signed_in(alice).post("/imports/new/", {"mode": "update"})

    text = answer.content.decode()
    assert answer.status_code == 400
    assert "Choose a file first" in text
    assert re.search(r'value="update" checked', text)


def test_it_says_what_is_wrong_with_an_option(alice: User) -> None:
    fields = {"file": SimpleUploadedFile("lamps.csv", CSV), "max_rejects": "many"}

    answer = signed_in(alice).post("/imports/new/", fields)

    assert answer.status_code == 400
    assert 'class="note error"' in answer.content.decode()
    assert not Import.objects.exists()


def test_it_refuses_a_file_that_is_too_large_before_reading_it(alice: User, settings: Any) -> None:
    settings.IMPORT_MAX_BYTES = 1000
    fields = {"file": SimpleUploadedFile("lamps.csv", b"x" * 100_000)}

    answer = signed_in(alice).post("/imports/new/", fields)

    assert answer.status_code == 413
    assert "Split it" in answer.content.decode()
    assert not Import.objects.exists()


def test_it_takes_no_file_from_a_form_of_another_site(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)

    answer = client.post("/imports/new/", {"file": SimpleUploadedFile("lamps.csv", CSV)})

    assert answer.status_code == 403
    assert not Import.objects.exists()


def test_it_offers_the_upload_to_nobody_who_may_not_import(bob: User) -> None:
    client = signed_in(bob)

    assert client.get("/imports/new/").status_code == 403
    assert client.post("/imports/new/", {"file": SimpleUploadedFile("lamps.csv", CSV)}).status_code == 403
    assert "/imports/new/" not in client.get("/imports/").content.decode()


# --- what every page keeps to ------------------------------------------------------------------


class InlineFinder(HTMLParser):
    """Collects what a strict Content-Security-Policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        inline_script = tag == "script" and "src" not in names and ("type", "application/json") not in attrs
        if tag == "style" or inline_script or "style" in names or any(name.startswith("on") for name in names):
            self.found.append(self.get_starttag_text() or tag)
        for name, value in attrs:
            if name in ("src", "href", "action") and re.match(r"(https?:)?//|javascript:", value or ""):
                self.found.append(f"{name}={value}")


PAGES = [
    "/login/",
    "/imports/",
    "/imports/new/",
    "/imports/{running}/",
    "/imports/{done}/",
    "/imports/{failed}/",
    "/imports/00000000-0000-7000-8000-000000000000/",
    "/admin/",
    "/account/tokens/",
    "/admin/products/product/",
    "/admin/products/product/?q=lamp",
    "/admin/products/product/add/",
    "/admin/products/import/",
    "/admin/products/import/add/",
    "/admin/products/import/{running}/change/",
    "/admin/products/import/{done}/change/",
    "/admin/products/productchange/",
]


@pytest.mark.parametrize("page", PAGES)
def test_it_keeps_every_page_free_of_inline_code_and_foreign_hosts(page: str) -> None:
    admin = make_user("dora", is_staff=True, is_superuser=True)
    ids = {
        "running": make_import(admin, state="PROGRESS", phase="staging", started_at=timezone.now()).pk,
        "done": make_import(admin, state="SUCCESS", phase="finished").pk,
        "failed": make_import(admin, state="FAILURE", error_code="x", error_message="y").pk,
    }
    client = Client() if "login" in page else signed_in(admin)

    answer = client.get(page.format(**ids))

    finder = InlineFinder()
    finder.feed(answer.content.decode())
    assert finder.found == []
    assert answer.status_code == (404 if "00000000" in page else 200)
    assert "script-src 'self';" in answer["Content-Security-Policy"] + ";"


def test_it_lets_pages_open_sockets_to_the_live_server_and_nowhere_else(alice: User, settings: Any) -> None:
    settings.LIVE_URL = "wss://live.example.com"

    policy = signed_in(alice).get("/imports/")["Content-Security-Policy"]

    assert "connect-src 'self' wss://live.example.com;" in policy + ";"


def test_the_corrected_file_finds_the_options_of_the_one_with_the_errors(alice: User) -> None:
    page = signed_in(alice).get("/imports/new/?mode=update&duplicates=first&max_rejects=7").content.decode()

    assert re.search(r'name="mode" value="update"[^>]* checked|value="update"[^>]* selected', page)
    assert re.search(r'value="first"[^>]* (checked|selected)', page)
    assert re.search(r'name="max_rejects"[^>]* value="7"|value="7"[^>]* name="max_rejects"', page)
