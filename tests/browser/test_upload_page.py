"""What somebody sees who brings a file: what is in it, where its columns go, and how it gets to the server."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from accounts.models import User
from products.importing import mappings
from products.models import Import, Product, Upload
from tests.browser.conftest import Complaints, Service, end_session, ended, log_in, log_in_elsewhere

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "/imports/new/"
GERMAN = "Artikel;Bezeichnung;Farbe;Status\nL-1;Größe 1;rot;active\nL-2;Größe 2;;active\n"
PART = 8 * 1024 * 1024
"""Bytes that the page sends at a time."""
LAMPS = "sku,name\n" + "".join(f"LAMP-{number},Desk lamp\n" for number in range(50))


@pytest.fixture
def ada() -> User:
    user = User.objects.create_user("ada", password="a long password")
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_import", "view_import"]))
    return user


@pytest.fixture
def page(tab: Page, ada: User) -> Page:
    """The upload page, before a file is chosen."""
    log_in(tab, ada, NEW)
    return tab


def choose(page: Page, content: str | bytes, name: str = "lamps.csv") -> None:
    data = content.encode() if isinstance(content, str) else content
    page.get_by_label("File", exact=True).set_input_files({"name": name, "mimeType": "text/csv", "buffer": data})


def upload(page: Page, button: str = "Upload and import") -> Import:
    """Press the button; the import that comes of it."""
    page.get_by_role("button", name=button).click()
    return arrived(page)


def arrived(page: Page) -> Import:
    page.wait_for_url(re.compile(r"/imports/[0-9a-f-]{36}/$"))
    return Import.objects.get(pk=page.url.split("/")[-2])


def columns(page: Page) -> dict[str, str]:
    """Where the page lets each column go."""
    rows = page.locator("table.mapping tbody tr")
    return {row.locator("th").inner_text(): row.locator("select").input_value() for row in rows.all()}


def first_cells(page: Page) -> Any:
    return expect(page.locator("table.rows tbody tr").first.locator("td"))


# --- what is in it -----------------------------------------------------------------------------


def test_it_shows_what_is_in_a_file_before_a_byte_is_sent(
    page: Page, context: BrowserContext, complaints: Complaints
) -> None:
    complaints.tolerated = ("ERR_INTERNET_DISCONNECTED",)
    context.set_offline(True)

    choose(page, GERMAN.encode("cp1252"))

    expect(page.get_by_text("2 rows, 4 columns parted by semicolons.")).to_be_visible()
    first_cells(page).to_have_text(["L-1", "Größe 1", "rot", "active"])
    expect(page.get_by_text("Windows-1252 is a guess: see whether all letters read right")).to_be_visible()
    expect(page.get_by_label("Encoding").locator("option:checked")).to_have_text("Windows-1252 (found)")
    expect(page.get_by_label("Between cells").locator("option:checked")).to_have_text("Semicolon ; (found)")
    assert columns(page) == {"Artikel": "", "Bezeichnung": "", "Farbe": "", "Status": "status"}


def test_a_file_may_be_dropped_anywhere_on_the_page(page: Page) -> None:
    file = (
        "const held = new DataTransfer(); held.items.add(new File(['sku,name\\n1,a\\n'], 'dropped.csv')); return held"
    )
    held = page.evaluate_handle(f"() => {{ {file} }}")

    page.dispatch_event("h1", "drop", {"dataTransfer": held})

    expect(page.locator("[data-chosen]")).to_have_text("dropped.csv · 13 bytes")
    first_cells(page).to_have_text(["1", "a"])


def test_it_sends_nothing_of_a_small_file_before_it_is_told_to(page: Page) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method != "GET" else None)

    choose(page, LAMPS)
    expect(page.get_by_text("50 rows, 2 columns")).to_be_visible()
    page.wait_for_load_state("networkidle")

    assert [request.post_data_json for request in sent] == [{"headers": ["sku", "name"]}]
    import_ = upload(page)
    assert [request.url.removeprefix(page.url.split("/imports/")[0]) for request in sent[1:]] == ["/api/v1/imports/"]
    assert import_.bytes_total == len(LAMPS)


def test_another_encoding_or_delimiter_shows_at_once(page: Page) -> None:
    choose(page, GERMAN)
    first_cells(page).to_have_text(["L-1", "Größe 1", "rot", "active"])

    page.get_by_label("Encoding").select_option("windows-1252")
    first_cells(page).to_have_text(["L-1", "GrÃ¶ÃŸe 1", "rot", "active"])
    expect(page.locator("table.mapping")).to_contain_text("GrÃ¶ÃŸe 1")
    page.get_by_label("Encoding").select_option("")
    page.get_by_label("Between cells").select_option(",")
    first_cells(page).to_have_text(["L-1;Größe 1;rot;active"])
    page.get_by_label("Between cells").select_option("")
    page.get_by_label("Line of the header").fill("2")
    page.get_by_label("Line of the header").blur()
    first_cells(page).to_have_text(["L-2", "Größe 2", "", "active"])


def test_only_what_was_chosen_of_the_format_is_sent(page: Page) -> None:
    choose(page, LAMPS)
    assert upload(page).file_format == {}

    page.goto(NEW)
    choose(page, GERMAN)
    page.get_by_label("Encoding").select_option("utf-8")
    page.get_by_label("Where Artikel goes").select_option("sku")
    assert upload(page).file_format == {"encoding": "utf-8"}


def test_who_comes_back_by_the_browser_s_button_sees_again_what_is_in_the_file(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "lamps.csv"
    file.write_text("sku,Farbe\n1,rot\n", encoding="utf-8")
    page.get_by_label("File", exact=True).set_input_files(file)
    upload(page)

    page.go_back()

    expect(page.get_by_text("1 row, 2 columns")).to_be_visible()
    expect(page.get_by_label("Where Farbe goes")).to_be_visible()


def test_it_says_what_it_cannot_show(page: Page) -> None:
    choose(page, b"PK\x03\x04" + b"\0" * 20 + b"xl/workbook.xml", name="lamps.xlsx")

    expect(page.get_by_text("This is an Excel workbook. It will be read on the server")).to_be_visible()
    expect(page.get_by_label("Sheet of a workbook")).to_be_visible()
    expect(page.get_by_label("Encoding")).to_be_hidden()
    expect(page.get_by_label("Check first")).to_be_checked()


def test_it_refuses_what_is_no_table(page: Page) -> None:
    choose(page, b"%PDF-1.7\n")
    expect(page.get_by_text("lamps.csv is a PDF document. Export the table as CSV")).to_be_visible()

    choose(page, b"")
    expect(page.get_by_text("lamps.csv is empty.")).to_be_visible()

    page.get_by_role("button", name="Upload and").click()
    expect(page.locator("[data-problem]")).to_be_focused()
    assert not Import.objects.exists()


# --- where its columns go ----------------------------------------------------------------------


def test_a_mapping_is_sent_applied_and_remembered(page: Page) -> None:
    choose(page, GERMAN)
    expect(page.get_by_text("No column is the sku yet.")).to_be_visible()

    page.get_by_label("Where Artikel goes").select_option("sku")
    page.get_by_label("Where Bezeichnung goes").select_option("name")
    page.get_by_label("Where Farbe goes").select_option("keep as attribute")
    page.get_by_label("Name of the attribute for Farbe").fill("colour")
    expect(page.get_by_text("No column is the sku yet.")).to_be_hidden()
    import_ = upload(page)

    expected = {"Artikel": "sku", "Bezeichnung": "name", "Farbe": "attributes.colour", "Status": "status"}
    assert import_.mapping == expected
    ended(import_)
    product = Product.objects.get(sku="L-1")
    assert (product.name, product.attributes) == ("Größe 1", {"colour": "rot"})

    page.goto(NEW)
    choose(page, GERMAN)
    expect(page.get_by_text("As it was mapped the last time.")).to_be_visible()
    assert columns(page) == {"Artikel": "sku", "Bezeichnung": "name", "Farbe": "attribute", "Status": "status"}


def test_what_is_mapped_as_proposed_is_left_to_the_server(page: Page, ada: User) -> None:
    mappings.remember(["sku", "Titel"], {"Titel": "name"}, ada)
    choose(page, "sku,Titel\n1,a\n")
    expect(page.get_by_text("As it was mapped the last time.")).to_be_visible()

    with page.expect_request(lambda request: request.method == "POST" and "/imports/" in request.url) as sent:
        upload(page)

    mappings_sent = re.findall(r'name="mapping"\r\n\r\n(.*?)\r\n', sent.value.post_data or "")
    assert not any(mappings_sent)


def test_two_columns_in_one_place_keep_it_from_being_sent(page: Page) -> None:
    choose(page, "sku,Titel,name\n1,a,b\n")
    page.get_by_label("Where Titel goes").select_option("name")

    page.get_by_role("button", name="Upload and import").click()

    expect(page.get_by_text("“Titel” and “name” both go to name.")).to_be_visible()
    expect(page.get_by_label("Where name goes")).to_be_focused()
    assert not Import.objects.exists()


def test_all_other_columns_are_kept_at_once(page: Page) -> None:
    choose(page, "sku,Farbe,Preis\n1,rot,5\n")
    expect(page.get_by_text("2 of 3 columns are left out.")).to_be_visible()

    page.get_by_role("button", name="Keep the others as attributes").click()

    expect(page.get_by_text("left out.")).to_be_hidden()
    assert upload(page).mapping == {"sku": "sku", "Farbe": "attributes.Farbe", "Preis": "attributes.Preis"}


# --- what to do with it ------------------------------------------------------------------------


def test_large_files_are_looked_at_first_and_small_ones_are_not(page: Page) -> None:
    look = page.get_by_label("Check first")
    choose(page, LAMPS)
    expect(look).not_to_be_checked()

    choose(page, "sku,name\n" + "".join(f"L-{number},x\n" for number in range(1001)))
    expect(look).to_be_checked()
    look.uncheck()
    assert not upload(page).check_first

    page.goto(NEW)
    choose(page, "sku,name\n" + "".join(f"L-{number},y\n" for number in range(1001)))
    expect(page.get_by_text("1,001 rows")).to_be_visible()
    expect(look).not_to_be_checked()  # as it was chosen the last time


def test_what_may_deactivate_products_is_always_looked_at_first(page: Page) -> None:
    choose(page, LAMPS)
    page.get_by_label("Create and update, and deactivate").check()

    expect(page.get_by_label("Check first")).to_be_checked()
    expect(page.get_by_label("Check first")).to_be_disabled()
    page.get_by_text("More options").click()
    page.get_by_label("Deactivate at most").fill("25%")
    import_ = upload(page, "Upload and check")
    assert (import_.mode, import_.check_first, import_.max_deactivated) == ("sync", True, "25%")


def test_a_guess_at_the_encoding_is_looked_at_first(page: Page) -> None:
    look = page.get_by_label("Check first")
    choose(page, "sku;name\n1;Größe\n".encode("cp1252"))
    expect(look).to_be_checked()
    expect(look).to_be_disabled()
    expect(look).to_have_accessible_description(re.compile("Always so where the encoding is a guess"))

    page.get_by_label("Encoding").select_option("windows-1252")
    expect(look).not_to_be_checked()
    import_ = upload(page)
    assert (import_.check_first, import_.file_format) == (False, {"encoding": "windows-1252"})


def test_what_the_server_refuses_stands_beside_its_field(page: Page, complaints: Complaints) -> None:
    complaints.tolerated = ("status of 400",)
    choose(page, LAMPS)
    page.get_by_text("More options").click()
    limit = page.get_by_label("Give up after")
    limit.fill("many")
    page.get_by_role("button", name="Upload and import").click()

    expect(limit).to_be_focused()
    expect(limit).to_have_attribute("aria-invalid", "true")
    expect(limit).to_have_accessible_description(re.compile("max_rejects “many” is not understood"))
    limit.fill("5")
    expect(page.get_by_text("is not understood")).to_have_count(0)
    assert upload(page).max_rejects == "5"


def test_it_names_the_import_that_had_the_same_file(page: Page) -> None:
    choose(page, LAMPS)
    import_ = upload(page)
    ended(import_)

    page.goto(NEW)
    choose(page, LAMPS, name="copy.csv")

    seen = page.get_by_text(re.compile(r"This same file was imported on \d+ \w+ \d{4} by ada: 50 rows\."))
    expect(seen).to_be_visible()
    link = page.get_by_role("link", name="See that import")
    expect(link).to_have_attribute("href", f"/imports/{import_.pk}/")


# --- for everybody -----------------------------------------------------------------------------


def test_it_needs_no_mouse(page: Page) -> None:
    choose(page, GERMAN)
    expect(page.locator("table.mapping")).to_be_visible()
    page.get_by_label("File", exact=True).focus()

    def tab_to(what: Any) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if what.evaluate("field => field === document.activeElement"):
                return
        raise AssertionError("the Tab key does not lead there")

    tab_to(page.get_by_label("Encoding"))
    tab_to(page.get_by_role("region", name="The first rows"))
    tab_to(page.get_by_label("Where Artikel goes"))
    page.keyboard.type("sku")
    tab_to(page.get_by_label("Where Bezeichnung goes"))
    page.keyboard.type("name")
    tab_to(page.get_by_label("Create new products and update"))
    page.keyboard.press("ArrowDown")
    tab_to(page.get_by_label("Check first"))
    page.keyboard.press("Space")
    tab_to(page.get_by_role("button", name="Upload and check"))
    page.keyboard.press("Enter")

    import_ = arrived(page)
    assert (import_.mode, import_.check_first) == ("create", True)
    assert import_.mapping["Artikel"] == "sku"


def test_it_needs_no_javascript(browser: Browser, service: Service, complaints: Complaints, ada: User) -> None:
    context = browser.new_context(base_url=service.url, java_script_enabled=False)
    page = complaints.watch(context.new_page())
    log_in(page, ada, NEW)

    choose(page, GERMAN)
    page.get_by_label("Check first").check()
    page.get_by_text("More options").click()
    page.get_by_label("Between cells").select_option(";")
    page.get_by_label("Where columns of other names go").fill('{"Artikel": "sku", "Bezeichnung": "name"}')
    page.get_by_label("Empty cells").select_option("clear")
    import_ = upload(page)
    context.close()

    assert import_.mapping == {"Artikel": "sku", "Bezeichnung": "name"}
    assert (import_.check_first, import_.empty_cells, import_.file_format) == (True, "clear", {"delimiter": ";"})


@pytest.mark.parametrize(("width", "height"), [(320, 640), (550, 400)], ids=["phone", "zoomed to 200 %"])
def test_it_fits_narrow_windows(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    wide = ",".join(f"Spalte {number}" for number in range(30))
    choose(page, f"sku,name,{wide}\n1,{'long name ' * 20},{wide}\n")
    page.get_by_role("button", name="Keep the others as attributes").click()
    page.get_by_text("More options").click()

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_works_inside_the_admin(tab: Page) -> None:
    root = User.objects.create_superuser("root", password="a long password")
    log_in(tab, root, "/admin/products/import/add/")

    choose(tab, GERMAN)
    tab.get_by_label("Where Artikel goes").select_option("sku")
    tab.get_by_role("button", name="Upload and import").click()

    tab.wait_for_url(re.compile(r"/admin/products/import/[0-9a-f-]{36}/change/$"))
    assert Import.objects.get().mapping["Artikel"] == "sku"


# --- in parts ----------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three parts."""
    file = tmp_path / "large.csv"
    with file.open("w") as text:
        text.write("sku,name,colour\n")
        for number in range(450_000):
            text.write(f"LAMP-{number:07},Desk lamp number {number},blue or green\n")
    assert 2 * PART < file.stat().st_size < 3 * PART
    return file


def is_intact(import_: Import, file: Path) -> bool:
    return import_.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


class Line:
    """The way of the parts to the server, which can be held."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._held: list[Route] | None = None
        page.route("**/files/*", self._pass)

    def _pass(self, route: Route) -> None:
        if self._held is None or route.request.method != "PATCH":
            route.continue_()
        else:
            self._held.append(route)

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for route in held:
            route.continue_()


def sending(page: Page) -> Any:
    return expect(page.locator("[data-sending-label]"))


def parts_sent(upload: Upload | None = None) -> int:
    return (upload or Upload.objects.get()).offset // PART


def test_a_large_file_is_on_its_way_while_its_columns_are_mapped(page: Page, large: Path) -> None:
    page.get_by_label("File", exact=True).set_input_files(large)

    expect(page.get_by_text(re.compile("About 4[0-9]0,000 rows, 3 columns"))).to_be_visible()
    page.get_by_label("Where colour goes").select_option("keep as attribute")
    sending(page).to_have_text("Sent", timeout=20_000)
    assert not Import.objects.exists()
    import_ = upload(page, "Upload and check")

    assert is_intact(import_, large)
    assert (import_.file_name, import_.check_first) == ("large.csv", True)
    assert import_.mapping == {"sku": "sku", "name": "name", "colour": "attributes.colour"}
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('tus::'))") == []


def test_it_can_be_told_to_start_before_all_is_sent(page: Page, large: Path) -> None:
    line = Line(page)
    line.hold()
    page.get_by_label("File", exact=True).set_input_files(large)
    sending(page).to_have_text("Sending")

    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("It starts as soon as all of it is sent.")).to_be_visible()
    page.get_by_role("button", name="Not yet").click()
    page.get_by_label("Check first").uncheck()
    page.get_by_role("button", name="Upload and import").click()
    line.release()

    import_ = arrived(page)
    assert is_intact(import_, large)
    assert not import_.check_first


def test_a_cut_in_the_middle_costs_nothing_but_time(
    page: Page, context: BrowserContext, complaints: Complaints, large: Path
) -> None:
    complaints.tolerated = ("ERR_INTERNET_DISCONNECTED", "ERR_FAILED")
    starts: list[int] = []

    def cut(route: Route) -> None:
        """The second part never arrives, and then there is no network at all."""
        starts.append(int(route.request.headers["upload-offset"]))
        if len(starts) != 2:
            return route.continue_()
        context.set_offline(True)
        return route.abort()

    page.route("**/files/*", lambda route: cut(route) if route.request.method == "PATCH" else route.continue_())
    page.get_by_label("File", exact=True).set_input_files(large)
    sending(page).to_have_text("The connection broke; trying again", timeout=20_000)
    assert parts_sent() == 1
    page.get_by_role("button", name="Upload and check").click()
    context.set_offline(False)

    import_ = arrived(page)
    assert is_intact(import_, large)
    assert starts == [0, PART, PART, 2 * PART]


def test_after_a_reload_the_same_file_goes_on_where_it_was(page: Page, complaints: Complaints, large: Path) -> None:
    starts: list[int] = []

    def hold_after_one(route: Route) -> None:
        if route.request.method == "PATCH":
            starts.append(int(route.request.headers["upload-offset"]))
            if len(starts) == 2:
                return  # held: it is on its way when the page is left
        route.continue_()

    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/files/*", hold_after_one)
    # The one that is held must be on its way: else it is the first one after the reload that is held, for ever.
    with page.expect_request(lambda request: request.headers.get("upload-offset") == str(PART)):
        page.get_by_label("File", exact=True).set_input_files(large)
    expect(page.locator("[data-sent]")).to_contain_text(re.compile(r"^[3-9]\d % "), timeout=20_000)
    page.goto(NEW)

    percent = 100 * PART // large.stat().st_size
    words = rf"large\.csv \(2\d\.\d MB\) was being sent\. Drop or choose the same file to continue at {percent} %\."
    expect(page.get_by_text(re.compile(words))).to_be_visible()
    page.get_by_label("File", exact=True).set_input_files(large)
    expect(page.get_by_text("was being sent")).to_be_hidden()
    import_ = upload(page, "Upload and check")

    assert is_intact(import_, large)
    assert starts == [0, PART, PART, 2 * PART]
    assert Upload.objects.count() == 1


def test_it_is_paused_continued_and_given_up(page: Page, large: Path) -> None:
    line = Line(page)
    line.hold()
    page.get_by_label("File", exact=True).set_input_files(large)
    sending(page).to_have_text("Sending")

    page.get_by_role("button", name="Pause").click()
    sending(page).to_have_text("Paused")
    page.get_by_role("button", name="Go on").click()
    sending(page).to_have_text("Sending")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Stop and remove what was sent").click()

    expect(page.locator("[data-sending]")).to_be_hidden()
    expect(page.get_by_label("File", exact=True)).to_be_focused()
    assert not Upload.objects.exists()
    page.unroute_all()
    page.get_by_label("File", exact=True).set_input_files(large)
    assert is_intact(upload(page, "Upload and check"), large)


def test_who_is_signed_out_goes_on_after_a_login_in_another_tab(
    page: Page, complaints: Complaints, ada: User, large: Path
) -> None:
    complaints.tolerated = ("status of 401",)
    signed_out = "You are not logged in any more. Log in in another tab, then try again here."
    line = Line(page)
    line.hold()
    page.get_by_label("File", exact=True).set_input_files(large)
    sending(page).to_have_text("Sending")
    end_session(page)
    line.release()
    sending(page).to_have_text("Not sent")
    expect(page.get_by_role("alert")).to_have_text(signed_out)
    log_in_elsewhere(page, ada)
    page.get_by_role("button", name="Try again").click()
    sending(page).to_have_text("Sent", timeout=20_000)

    end_session(page)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("alert")).to_have_text(signed_out)
    log_in_elsewhere(page, ada)
    assert is_intact(upload(page, "Upload and check"), large)


def test_what_the_server_says_of_an_upload_is_shown(page: Page, complaints: Complaints, large: Path) -> None:
    complaints.tolerated = ("status of 507",)
    words = "The server has no room left for this file."
    problem = {"status": 507, "content_type": "application/problem+json", "body": json.dumps({"detail": words})}
    page.route("**/files/", lambda route: route.fulfill(**problem))
    page.get_by_label("File", exact=True).set_input_files(large)

    expect(page.get_by_role("alert")).to_have_text(words)
    sending(page).to_have_text("Not sent")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    sending(page).to_have_text("Sent", timeout=20_000)
    expect(page.get_by_role("alert")).to_be_empty()


# --- large files --------------------------------------------------------------------------------


def test_a_file_of_100_mb_is_dropped_and_watched_to_its_end(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.csv"
    with file.open("w", encoding="utf-8") as out:
        out.write("sku,name,description\n")
        text = "Brass with a switch. " * 10
        out.writelines(f"SKU-{number:07d},Desk lamp {number},{text}\n" for number in range(450_000))
    assert file.stat().st_size > 100_000_000
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Check first").set_checked(False)

    import_ = upload(page)

    expect(page).to_have_title("Done · catalogue.csv", timeout=120_000)
    expect(page.get_by_text("450,000 rows read = 450,000 created")).to_be_visible()
    import_.refresh_from_db()
    assert (import_.rows_created, import_.bytes_total) == (450_000, file.stat().st_size)
    with file.open("rb") as sent:
        assert hashlib.file_digest(sent, "sha256").hexdigest() == import_.sha256
