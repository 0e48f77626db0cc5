"""The fast JSON says what DRF's own says."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.utils.translation import gettext_lazy
from rest_framework.renderers import JSONRenderer

from common.rendering import FastJSONRenderer, JsonText


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 25, 12, 0, 0, 120, tzinfo=UTC),
        datetime(2026, 11, 25, 12, tzinfo=UTC),
        datetime(2026, 11, 25, 12, tzinfo=timezone(timedelta(hours=2))),
        date(2026, 11, 25),
        uuid.UUID(int=7),
        Decimal("12.50"),
        gettext_lazy("Name"),
        "Äpfel \u2028 \U0001f600",
        2**70,  # more than 64 bits: orjson refuses it
        {"a": [1, 1.5, True, None, {}], "": ""},
        {1: "a key that is a number"},
    ],
    ids=repr,
)
def test_it_writes_what_the_slow_one_writes(value: Any) -> None:
    data = {"value": value}

    assert json.loads(_lenient(FastJSONRenderer().render(data))) == json.loads(_lenient(JSONRenderer().render(data)))


def test_it_indents_where_the_client_asks_for_it() -> None:
    assert FastJSONRenderer().render({"a": 1}, "application/json; indent=2") == b'{\n  "a": 1\n}'


@pytest.mark.parametrize(
    ("beside", "media_type"), [(1, "application/json"), (2**70, ""), (1, "application/json; indent=2")]
)
def test_what_is_json_already_goes_in_as_it_is_whoever_writes_the_rest(beside: int, media_type: str) -> None:
    data = {"attributes": JsonText('{"size": 1e22}'), "beside": beside}

    assert json.loads(FastJSONRenderer().render(data, media_type)) == {"attributes": {"size": 1e22}, "beside": beside}


def test_it_writes_nothing_where_there_is_nothing() -> None:
    assert FastJSONRenderer().render(None) == b""


def _lenient(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
