"""Log lines without secrets and without rows, whoever writes them."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, connection, transaction
from django.test import RequestFactory

from common.log_hygiene import shown_address, without_quotes
from odata.logs import logging_config

ROW = "canary-of-a-row"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/api/v1/products/", "/api/v1/products/"),
        ("/api/v1/products/A-1/?fields=sku", "/api/v1/products/A-1/?fields=…"),
        ("/imports/?search=canary&q=%26&canary", "/imports/?search=…&q=…"),
        ("/setup/canary:abc/", "/setup/…"),
        ("/%1b]0;title%07%0aa line of its own%C2%9b", "/%1B]0;title%07%0Aa line of its own%C2%9B"),
        ("/webhooks/del_by_url/https%3A%2F%2Fhooks.example%2Fcanary", "/webhooks/del_by_url/…"),
        ("/no%0Aline/of%1B[2Jits/%E2%80%AEown%C3%A9/", "/no%0Aline/of%1B[2Jits/%E2%80%AEowné/"),
    ],
)
def test_an_address_is_shown_without_values_and_secrets(address: str, shown: str) -> None:
    assert shown_address(RequestFactory().get(address)) == shown


@pytest.fixture(params=["json", "console"])
def lines(request: Any) -> Iterator[io.StringIO]:
    """What the service's own handler writes, in either form."""
    written = io.StringIO()
    config = logging_config("DEBUG", request.param)
    formatter = config["formatters"]["structured"]
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter["()"](**{name: formatter[name] for name in ("foreign_pre_chain", "processors")}))
    logger = logging.getLogger("canaries")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)


STATEMENTS = {
    "unique": "CREATE TEMP TABLE t (sku text UNIQUE); INSERT INTO t VALUES ('{0}'), ('{0}')",
    "check": "CREATE TEMP TABLE t (sku text CHECK (sku = 'a')); INSERT INTO t VALUES ('{0}')",
    "type": "SELECT '{0}'::int",
    "json": "SELECT '{0}'::jsonb",
    "syntax": "SELECT '{0}' FROM FROM",
    "lines": "CREATE TEMP TABLE t (sku text UNIQUE); INSERT INTO t VALUES (E'{0}\\n{0}'), (E'{0}\\n{0}')",
    "in a function": "DO $$ BEGIN PERFORM '{0}'::int; END $$",
}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", STATEMENTS)
def test_an_error_of_the_database_is_told_without_the_row(lines: io.StringIO, kind: str) -> None:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(STATEMENTS[kind].format(ROW))
    except DatabaseError as error:
        assert ROW in str(error)  # so there is something to hide
        logging.getLogger("canaries").exception("import_broke", extra={"error": str(error)})
        logging.getLogger("canaries").error("it broke: %s", error)

    text = lines.getvalue()
    assert "Traceback" in text
    assert "psycopg.errors" in text
    assert ROW not in text


def test_a_traceback_shows_no_variables(lines: io.StringIO) -> None:
    password = "canary-" * 3
    try:
        print(len(password) / 0)  # noqa: T201 - never gets there
    except ZeroDivisionError:
        logging.getLogger("canaries").exception("failed")

    assert "Traceback" in lines.getvalue()
    assert password not in lines.getvalue()


def test_django_s_own_lines_name_the_path_alone(lines: io.StringIO) -> None:
    request = RequestFactory().get("/setup/canary/?token=canary")
    said = ("%s: %s", "Not Found", request.path)

    logging.getLogger("canaries").warning(*said, extra={"status_code": 404, "request": request})

    assert "Not Found: /setup/" in lines.getvalue()
    assert "canary/" not in lines.getvalue()
    assert "=canary" not in lines.getvalue()


def test_no_address_reaches_into_the_operator_s_terminal(lines: io.StringIO) -> None:
    request = RequestFactory().get("/%1b[31mred%0aa-line-of-its-own")
    logging.getLogger("canaries").warning("Not Found: %s", request.path, extra={"request": request})

    told = lines.getvalue()
    assert told.count("\n") == 1
    assert "/%1B[31mred%0Aa-line-of-its-own" in told


def test_a_refused_request_is_a_warning_of_one_line(lines: io.StringIO) -> None:
    refused = logging.getLogger("django.security.RequestDataTooBig")
    refused.addHandler(logging.getLogger("canaries").handlers[0])
    try:
        raise RequestDataTooBig("The form is too large.")
    except RequestDataTooBig as error:
        refused.error(str(error), exc_info=error)
    finally:
        refused.handlers.clear()

    written = lines.getvalue()
    assert "The form is too large." in written
    assert "warning" in written
    assert "Traceback" not in written
    assert written.count("\n") == 1


def test_what_quotes_nothing_stays_as_it_is() -> None:
    sentence = 'relation "products" does not exist\nHINT:  Migrate.'

    assert without_quotes(sentence) == sentence
