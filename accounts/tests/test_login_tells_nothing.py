"""A login that fails tells nobody whether the name exists: same answer, and the same work, hence the same time.

Work is counted rather than timed: how often the slow hash ran, and which statements the database got.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.devices import Authenticator
from accounts.models import User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@dataclass
class Attempt:
    status: int
    headers: dict[str, str]
    page: str
    statements: list[str]
    hashes: int


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A note for every run of Argon2."""
    runs: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(Argon2PasswordHasher, name)

        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            runs.append(name)
            return original(self, *args, **kwargs)

        return run

    for name in ("encode", "verify"):
        monkeypatch.setattr(Argon2PasswordHasher, name, counted(name))
    return runs


def attempt(username: str, hashes: list[str], password: str = "wrong") -> Attempt:  # noqa: S107
    hashes.clear()
    with CaptureQueriesContext(connection) as queries:
        answer = Client().post("/login/", {"username": username, "password": password})
    page = re.sub(r'value="\w{64}"|<time.*?</time>', "", answer.content.decode()).replace(username, "NAME")
    statements = [re.sub(r"'[^']*'|\d+", "?", query["sql"]) for query in queries]
    told = {name: value for name, value in answer.headers.items() if name not in ("X-Request-ID", "Expires")}
    return Attempt(answer.status_code, told, page, statements, len(hashes))


def with_second_factor(user: User) -> None:
    Authenticator.objects.create(user=user, confirmed=True)


PEOPLE: dict[str, Callable[[User], Any]] = {
    "known": lambda user: None,
    "with a second factor": with_second_factor,
    "switched off": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "without a password": lambda user: User.objects.filter(pk=user.pk).update(password="!"),
    "an administrator": lambda user: User.objects.filter(pk=user.pk).update(is_superuser=True, is_staff=True),
}


@pytest.mark.parametrize("kind", PEOPLE)
def test_a_wrong_password_is_answered_as_an_unknown_name_is(hashes: list[str], kind: str) -> None:
    alice = User.objects.create_user("alice", password=PASSWORD)
    PEOPLE[kind](alice)

    known, unknown = attempt("alice", hashes), attempt("aaron", hashes)

    assert unknown.hashes == 1
    assert known == unknown


def test_the_right_password_of_somebody_switched_off_opens_and_tells_nothing(hashes: list[str]) -> None:
    User.objects.create_user("alice", password=PASSWORD, is_active=False)

    known, unknown = attempt("alice", hashes, PASSWORD), attempt("aaron", hashes, PASSWORD)

    assert known == unknown


def test_a_lock_is_the_same_whoever_it_keeps_out(hashes: list[str], settings: Any) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    User.objects.create_user("alice", password=PASSWORD)
    for name in ("alice", "aaron"):
        for _ in range(2):
            attempt(name, hashes)

    known, unknown = attempt("alice", hashes, PASSWORD), attempt("aaron", hashes, PASSWORD)

    assert (known.status, known.hashes) == (429, 0)
    assert known == unknown
