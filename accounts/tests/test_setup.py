"""The first administrator, and nobody after."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.db import connection
from django.test import Client

from accounts import setup
from accounts.models import User
from common.errors import ConflictError, InvalidInputError

pytestmark = pytest.mark.django_db

FORM = {"username": "alice", "password1": "a long enough secret", "password2": "a long enough secret"}


def new_link() -> str:
    link = setup.setup_link("")
    assert link is not None
    return link


def test_the_link_makes_the_first_administrator_and_logs_them_in(client: Client) -> None:
    link = setup.setup_link("http://localhost:8000/")
    assert link is not None
    assert link.startswith("http://localhost:8000/setup/")
    link = link.removeprefix("http://localhost:8000")

    assert client.get(link).status_code == 200
    response = client.post(link, FORM)

    alice = User.objects.get()
    assert response.status_code == 302
    assert alice.is_superuser
    assert alice.is_staff
    assert alice.password.startswith("argon2")
    assert client.get("/admin/").status_code == 200


def test_the_link_works_once(client: Client) -> None:
    link = new_link()
    client.post(link, FORM)

    again = Client().post(link, FORM | {"username": "mallory"})

    assert again.status_code == 404
    assert "has been used" in again.content.decode()
    assert Client().get(link).status_code == 404
    assert User.objects.count() == 1


def test_there_is_no_link_once_there_is_an_administrator() -> None:
    User.objects.create_superuser("root")

    assert setup.setup_link("http://localhost:8000") is None


def test_the_link_ends_after_a_day(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    link = new_link()
    later = signing.time.time() + timedelta(hours=24, seconds=5).total_seconds()  # type: ignore[attr-defined]
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)

    response = client.get(link)

    assert response.status_code == 404
    assert "has expired" in response.content.decode()


@pytest.mark.parametrize(
    "token",
    ["x", "first-administrator", pytest.param(signing.TimestampSigner().sign(setup.PURPOSE), id="signed otherwise")],
)
def test_it_takes_no_link_that_it_has_not_signed(client: Client, token: str) -> None:
    response = client.post(f"/setup/{token}/", FORM)

    assert response.status_code == 404
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"password2": "another long secret"},
        {"password1": "short", "password2": "short"},
        {"username": ""},
        {"username": "a\0b"},
    ],
)
def test_it_shows_the_form_again_with_what_is_wrong(client: Client, wrong: dict[str, str]) -> None:
    response = client.post(new_link(), FORM | wrong)

    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_becomes_administrator() -> None:
    start = threading.Barrier(2)
    outcomes: list[Any] = []

    def race(name: str) -> None:
        start.wait(timeout=10)
        try:
            outcomes.append(setup.create_first_administrator(User(username=name, password="!")))
        except ConflictError as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=race, args=[name]) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "User"]
    assert User.objects.filter(is_superuser=True).count() == 1


def test_the_environment_makes_the_administrator_once() -> None:
    assert setup.ensure_admin("alice", "a long enough secret") is True
    assert setup.ensure_admin("bob", "weak") is False

    assert User.objects.get().check_password("a long enough secret")


@pytest.mark.parametrize(
    ("name", "password"), [("alice", "short"), ("", "a long enough secret"), ("a b", "a long enough secret")]
)
def test_the_environment_makes_no_administrator_of_a_bad_name_or_password(name: str, password: str) -> None:
    with pytest.raises(InvalidInputError, match="can't be made"):
        setup.ensure_admin(name, password)

    assert not User.objects.exists()


def test_people_log_in_and_out(client: Client) -> None:
    User.objects.create_user("alice", password="a long enough secret")

    wrong = client.post("/login/", {"username": "alice", "password": "no"})
    right = client.post("/login/", {"username": "alice", "password": "a long enough secret"})
    out = client.post("/logout/")

    assert wrong.status_code == 200
    assert 'role="alert"' in wrong.content.decode()
    assert right["Location"] == "/imports/"
    assert out["Location"] == "/login/"
    assert client.get("/logout/").status_code == 405
