"""Commands that the database gets in the way of: a sentence and an exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from common.tests.addresses import free_port
from odata.management.database_errors import explained
from odata.tests.running import environment, fresh_folder, manage


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with fresh_folder() as folder:
        (folder / "products.csv").write_text("sku,name\nA-1,Lamp\n")
        yield folder


COMMANDS = (
    "migrate",
    "issue_token ada --name x --scopes read",
    "import_csv {home}/products.csv",
    "export_csv --output {home}/out.csv",
    "rekey_webhook_secrets",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_that_there_is_no_database(command: str, home: Path) -> None:
    done = manage(*command.format(home=home).split(), env=environment(home))

    assert done.returncode == 1
    assert "PostgreSQL can't be reached, or went away: connection is bad: " in done.stderr
    assert done.stderr.endswith("Start or reach the server (the embedded one: start it with manage.py up).\n")
    assert "Traceback" not in done.stderr


def test_a_backup_of_a_server_that_is_away_names_the_setting(home: Path) -> None:
    url = f"postgresql://odata:canary@127.0.0.1:{free_port()}/odata"

    done = manage("backup", str(home / "today.odata"), env=environment(home, DATABASE_URL=url))

    assert done.returncode == 1
    assert done.stderr.endswith("(see DATABASE_URL).\n")
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr


def test_the_traceback_is_there_for_who_asks_for_it(home: Path) -> None:
    assert "Traceback" in manage("migrate", "--traceback", env=environment(home)).stderr


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT FROM no_such_table", "The database is not that of this version (relation "),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)", "PostgreSQL gave up: canceling statement due to"),
        ("SET LOCAL transaction_read_only = on; CREATE TABLE t ()", "PostgreSQL refuses this to the user of"),
        ("SELECT 1/0", None),
    ],
)
def test_what_postgresql_says_is_put_in_words_if_an_operator_can_mend_it(statement: str, said: str | None) -> None:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    sentence = explained(caught.value)

    assert (sentence is None) if said is None else (sentence or "").startswith(said)
