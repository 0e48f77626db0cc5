"""Queries that are compiled once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import F

from accounts.models import ApiToken, AuditEntry
from common.queries import Statement

pytestmark = pytest.mark.django_db
User: Any = get_user_model()


def test_it_finds_what_the_query_set_finds_each_time() -> None:
    people = Statement(lambda name: User.objects.filter(username=name).values_list("pk", "username"), "somebody")
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")

    assert people.rows("ada") == [(ada.pk, "ada")]
    assert people.rows("bob") == [(bob.pk, "bob")]
    assert people.rows("' OR 1 = 1 --") == []


def test_values_are_what_the_fields_make_of_them() -> None:
    entries = Statement(lambda action: AuditEntry.objects.filter(action=action).values_list("details"), "any")
    AuditEntry.objects.create(action="tried", details={"a": [1, None]})

    assert entries.rows("tried") == [({"a": [1, None]},)]


def test_a_query_with_values_that_it_is_not_given_is_a_bug_that_shows_at_once() -> None:
    wrong = Statement(lambda name: ApiToken.objects.filter(name=name, user__is_active=F("user__is_staff"), pk=7), "a")

    with pytest.raises(ValueError, match="other parameters"):
        wrong.rows("ada")
