"""No index costs each write without need: none begins as another one does that answers the same questions."""

from __future__ import annotations

import pytest
from django.db import connection

DOUBLES = """
SELECT one.indexrelid::regclass::text
  FROM pg_index AS one
  JOIN pg_index AS other ON other.indrelid = one.indrelid AND other.indexrelid <> one.indexrelid
  JOIN pg_class AS index ON index.oid = one.indexrelid
  JOIN pg_class AS further ON further.oid = other.indexrelid AND further.relam = index.relam
 WHERE one.indrelid::regclass::text ~ '^(accounts|products|webhooks)_'
   AND one.indrelid::regclass::text NOT IN ('accounts_user_groups', 'accounts_user_user_permissions')
   AND NOT one.indisunique AND one.indexprs IS NULL AND other.indexprs IS NULL
   AND one.indpred IS NULL AND other.indpred IS NULL
   AND one.indclass[0] = other.indclass[0]
   AND array_to_string(other.indkey, ',') || ',' LIKE array_to_string(one.indkey, ',') || ',%'
"""
"""Indexes that a longer one, or a unique one of the same columns, makes superfluous. Two small tables are Django's."""


def doubles() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(DOUBLES)
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.django_db
def test_no_index_is_the_beginning_of_another() -> None:
    assert doubles() == []


@pytest.mark.django_db
def test_one_that_is_would_be_seen() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX needless ON products_import (created_by_id)")

    assert doubles() == ["needless"]
