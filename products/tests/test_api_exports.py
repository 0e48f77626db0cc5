"""`/api/v1/products/export.csv` and `.xlsx`, as a program sees them, and the command that does the same."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import User
from common.tests.waiting import wait_until
from products import catalogue
from products.models import Product
from products.tests.importing.imports import Counts, aside, counts, execute, imported, other_session
from products.tests.test_api_products import client_with
from products.tests.test_exporting import sheet_of

pytestmark = pytest.mark.django_db(transaction=True)

CSV, XLSX = "/api/v1/products/export.csv", "/api/v1/products/export.xlsx"


@pytest.fixture
def client() -> APIClient:
    return client_with("read")


@pytest.fixture
def lamps() -> None:
    catalogue.create_product({"sku": "LAMP-1", "name": "=Lamp", "attributes": {"colour": "red"}}, actor=None)
    catalogue.create_product({"sku": "LAMP-2", "name": "Lamp", "status": "inactive"}, actor=None)


def rows_of(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_csv_file_is_to_be_saved_and_its_length_is_known(client: APIClient, lamps: None) -> None:
    answer = client.get(CSV)
    content = answer.getvalue()

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert answer["Content-Disposition"].startswith('attachment; filename="products-')
    assert answer["Content-Length"] == str(len(content))
    assert rows_of(content) == [
        ["sku", "name", "description", "status", "attributes.colour"],
        ["LAMP-1", "'=Lamp", "", "active", "red"],
        ["LAMP-2", "Lamp", "", "inactive", ""],
    ]


def test_it_takes_the_filters_of_the_list_and_says_how_the_file_is_to_be(client: APIClient, lamps: None) -> None:
    query = "?search=lamp&attributes.colour=red&columns=sku,name&formulas=raw&bom=false"

    assert client.get(CSV + query).getvalue() == b"sku,name\nLAMP-1,=Lamp\n"


def test_a_workbook_holds_the_same(client: APIClient, lamps: None) -> None:
    answer = client.get(f"{XLSX}?status=active")

    assert answer["Content-Disposition"].endswith('.xlsx"')
    assert sheet_of(answer.getvalue()) == [
        ["sku", "name", "description", "status", "attributes.colour"],
        ["LAMP-1", "=Lamp", "", "active", "red"],
    ]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{CSV}?staus=active", "unknown_parameter"),
        (f"{CSV}?page_size=5", "unknown_parameter"),
        (f"{XLSX}?formulas=raw", "unknown_parameter"),
        (f"{CSV}?columns=price", "invalid"),
        (f"{CSV}?status=sold", "invalid"),
        (f"{CSV}?import=", "invalid"),
        (f"{CSV}?columns=", "invalid"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(client: APIClient, path: str, code: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("path", [CSV, XLSX, "/api/v1/products/?total=estimate&"])
def test_an_import_that_there_is_not_has_changed_nothing(client: APIClient, lamps: None, path: str) -> None:
    answer = client.get(f"{path}{'' if '?' in path else '?'}import={uuid.uuid4()}")

    assert answer.status_code == 200
    assert b"LAMP-1" not in b"".join(answer)


def test_it_needs_the_scope_to_read() -> None:
    assert client_with("import").get(CSV).status_code == 403
    assert APIClient().get(XLSX).status_code == 401


def test_programs_may_ask_for_the_type_that_it_is(client: APIClient, lamps: None) -> None:
    assert client.get(CSV, headers={"accept": "text/csv"}).getvalue()
    assert client.get(XLSX, headers={"accept": "application/vnd.ms-excel, */*;q=0.1"}).getvalue()


def test_somebody_who_is_logged_in_can_follow_a_link_to_it(lamps: None) -> None:
    browser = APIClient()
    browser.force_login(User.objects.create_superuser("ada"))

    answer = browser.get(CSV, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert rows_of(answer.getvalue())[1][0] == "LAMP-1"


def test_products_of_these_names_are_still_found(client: APIClient) -> None:
    for sku in ("export.csv", "export.xlsx"):
        catalogue.create_product({"sku": sku, "name": "Lamp"}, actor=None)

        assert client.get(f"/api/v1/products/{sku}/").json()["sku"] == sku


def test_a_database_that_breaks_off_is_an_error_and_not_half_a_file(client: APIClient, lamps: None) -> None:
    """The export waits for a lock that we hold, and its session is ended."""
    answers = []
    with other_session() as other:
        execute(other, "BEGIN; LOCK TABLE products_product IN ACCESS EXCLUSIVE MODE")
        with aside(lambda: answers.append(client.get(f"{CSV}?columns=sku"))):
            wait_until(lambda: sessions("wait_event_type = 'Lock' AND query LIKE 'COPY (SELECT%%'"))
            execute(
                other,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND query LIKE 'COPY (SELECT%%'",
            )

    [answer] = answers
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Content-Type"] == "application/problem+json"


def sessions(condition: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        )
        return int(cursor.fetchone()[0])


def test_no_transaction_is_open_while_the_file_is_sent(client: APIClient, lamps: None) -> None:
    answer = client.get(CSV)

    wait_until(lambda: sessions("xact_start IS NOT NULL") == 0)
    assert answer.getvalue()


# --- the command -------------------------------------------------------------------------------


def test_the_command_writes_a_file_that_an_import_takes_for_unchanged(lamps: None, tmp_path: Path) -> None:
    output = tmp_path / "products.csv"

    call_command("export_csv", output=output)

    assert counts(imported(output.read_bytes())) == Counts(read=2, unchanged=2)
    assert list(tmp_path.iterdir()) == [output]


def test_the_command_filters_and_leaves_formulas_alone(lamps: None, tmp_path: Path) -> None:
    output = tmp_path / "products.csv"

    call_command("export_csv", output=output, status="active", search="lamp", raw=True, columns="sku,name")

    assert rows_of(output.read_bytes()) == [["sku", "name"], ["LAMP-1", "=Lamp"]]


def test_the_command_writes_workbooks(lamps: None, tmp_path: Path) -> None:
    output = tmp_path / "products.xlsx"

    call_command("export_csv", output=output, xlsx=True)

    assert [row[0] for row in sheet_of(output.read_bytes())] == ["sku", "LAMP-1", "LAMP-2"]


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(
    lamps: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "products.xlsx"
    output.write_text("older")
    monkeypatch.setattr("products.exporting.SHEET_ROWS", 1)

    with pytest.raises(CommandError, match="2 products are chosen"):
        call_command("export_csv", output=output, xlsx=True)

    assert output.read_text() == "older"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("options", "word"), [({"columns": "price"}, "price"), ({"output": Path("/nowhere/x")}, "x")])
def test_the_command_says_what_it_can_not_do(options: dict[str, object], word: str) -> None:
    with pytest.raises(CommandError, match=word) as caught:
        call_command("export_csv", **options)

    assert caught.value.returncode == 2


def test_the_command_writes_to_the_standard_output(lamps: None, tmp_path: Path) -> None:
    values = connection.get_connection_params()
    url = f"postgresql://{values['user']}@/{connection.settings_dict['NAME']}?host={values['host']}"
    environment = {**os.environ, "DATABASE_URL": url, "ODATA_HOME": str(tmp_path)}
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "export_csv", "--status", "active"]

    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert rows_of(done.stdout)[1][0] == "LAMP-1"
    assert Product.objects.count() == 2
