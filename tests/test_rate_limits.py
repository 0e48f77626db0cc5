"""Limits to the number of requests, as clients of the real web server and Valkey meet them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from django.test import Client
from pytest_django import Settings
from structlog.testing import capture_logs

from accounts import rate_limits
from accounts.models import ApiToken, User
from products.tests.web_server import running

URL = "/api/v1/products/"


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No counts of other tests, and no memory of a Valkey that was away."""
    monkeypatch.setattr(rate_limits, "_not_before", 0.0)
    rate_limits.valkey.cache_clear()
    valkey = rate_limits.valkey().client
    for key in valkey.scan_iter("odata:rate:*"):
        valkey.delete(key)
    yield
    rate_limits.valkey.cache_clear()


def client_of(user: User) -> Client:
    _, token = ApiToken.issue(user, name="test", scopes=["read"])
    return Client(headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_superuser("ada")


def test_every_answer_says_how_many_requests_are_left(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 10
    client = client_of(ada)
    answers = [client.get(URL), client.get(f"{URL}no-such/")]

    assert [answer.status_code for answer in answers] == [200, 404]
    assert [answer["RateLimit-Policy"] for answer in answers] == ['"default";q=10;w=60'] * 2
    assert [re.fullmatch(r'"default";r=(\d+);t=(60|59)', answer["RateLimit"])[1] for answer in answers] == ["9", "8"]  # type: ignore[index]


def test_one_too_many_is_told_when_to_come_back(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 1
    client = client_of(ada)
    client.get(URL)
    answer = client.get(URL)

    assert (answer.status_code, answer["Content-Type"]) == (429, "application/problem+json")
    assert answer.json()["code"] == "throttled"
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert answer["RateLimit"] == f'"default";r=0;t={answer["Retry-After"]}'


def test_each_token_and_each_person_is_counted_alone(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 1
    session = Client()
    session.force_login(ada)

    assert [client.get(URL).status_code for client in (client_of(ada), client_of(ada), session)] == [200, 200, 200]
    assert session.get(URL).status_code == 429


def test_zero_is_no_limit(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 0
    answer = client_of(ada).get(URL)

    assert answer.status_code == 200
    assert "RateLimit" not in answer


def test_without_valkey_everything_gets_through_and_the_log_says_so_once(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 1
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    rate_limits.valkey.cache_clear()
    client = client_of(ada)
    with capture_logs() as said:
        statuses = [client.get(URL).status_code for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert [line["event"] for line in said].count("rate_not_limited") == 1


def test_it_counts_on_where_valkey_has_closed_the_resting_connections(ada: User, settings: Settings) -> None:
    settings.API_RATE_LIMIT = 10
    client = client_of(ada)
    client.get(URL)
    rate_limits.valkey().client.client_kill_filter(_type="normal", skipme=True)

    assert client.get(URL)["RateLimit"].startswith('"default";r=8;')


@pytest.mark.django_db(transaction=True)
def test_of_200_requests_at_once_exactly_the_limit_gets_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_RATE_LIMIT", "50")
    with running(tmp_path, "--workers", "2") as server, ThreadPoolExecutor(40) as threads:
        headers = {"Authorization": f"Bearer {server.token}"}
        url = f"http://127.0.0.1:{server.port}/api/v1/imports/"
        asked = [threads.submit(requests.get, url, headers=headers, timeout=30) for _ in range(200)]
        statuses = Counter(each.result().status_code for each in asked)

    assert statuses == {200: 50, 429: 150}
