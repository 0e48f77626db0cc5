"""Streams of rows, as imports, undos and their lists read them: `streamed` alone opens them."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection, transaction

from products import importing
from products.importing.statements import streamed

ROWS = "SELECT generate_series(1, 100000)"


class ReaderFailsError(Exception):
    """Whatever may happen to who reads."""


@pytest.mark.django_db(transaction=True)
def test_where_a_reader_fails_in_the_middle_its_transaction_is_rolled_back_and_the_next_one_begins() -> None:
    """A stream left open would keep the connection locked, and the rollback waiting for ever."""
    with pytest.raises(ReaderFailsError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TABLE half_done ()")
        with streamed(cursor, ROWS) as rows:
            assert next(rows) == (1,)
            raise ReaderFailsError

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('half_done')")
        assert cursor.fetchone() == (None,)


def test_nothing_else_of_imports_opens_a_stream() -> None:
    modules = Path(importing.__path__[0]).glob("*.py")

    assert [module.name for module in modules if ".stream(" in module.read_text()] == ["statements.py"]
