"""The id of a request: given from outside or made here, on every answer, whoever gives it."""

from __future__ import annotations

import json
import uuid

import pytest
from django.test import Client

from common import request_ids


@pytest.mark.parametrize(
    "given", ["7f3c", "7e57d004-2b97-0e7a-b45f-5387367791cd", "Root=1-67891233-abcdef012345678912345678", "x" * 64]
)
def test_an_id_from_outside_is_kept(client: Client, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": given})

    assert answer["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", 'a"quote', "new\nline", "<b>", "id\u00e9"])
def test_one_that_logs_or_rows_should_not_hold_is_replaced(client: Client, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": given})

    assert uuid.UUID(answer["X-Request-ID"]).version == 4


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/api/v1/nothing-here/", "localhost", 404),
        ("/livez", "stranger.example", 400),  # refused before any view, and before the log knows the request
    ],
)
def test_an_error_tells_the_id_it_came_with(client: Client, path: str, host: str, status: int) -> None:
    answer = client.get(path, headers={"X-Request-ID": "from-the-edge", "Host": host, "Accept": "application/json"})

    assert (answer.status_code, answer["X-Request-ID"]) == (status, "from-the-edge")
    assert json.loads(answer.content)["request_id"] == "from-the-edge"


@pytest.mark.django_db
def test_a_static_file_has_one_too(client: Client) -> None:
    answer = client.get("/static/favicon.svg", headers={"X-Request-ID": "for-a-file"})
    answer.close()

    assert (answer.status_code, answer["X-Request-ID"]) == (200, "for-a-file")


def test_work_for_a_request_is_logged_as_its_own_and_only_that() -> None:
    with request_ids.working_for("one"):
        with request_ids.working_for(""):
            assert request_ids.current() == "one"
        with request_ids.working_for("two"):
            assert request_ids.current() == "two"
        assert request_ids.current() == "one"
    assert request_ids.current() == ""
