"""The catalogue of events: each type is described, and the description is right."""

from __future__ import annotations

import re

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from rest_framework.test import APIClient

from accounts.models import User
from accounts.tests.people import token_of
from webhooks import outbox
from webhooks.event_types import EVENT_TYPES, MAX_BYTES, EventType

TYPES = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES.keys())


@TYPES
def test_an_example_is_what_its_schema_says(event_type: EventType) -> None:
    Draft202012Validator.check_schema(event_type.schema)

    Draft202012Validator(event_type.schema, format_checker=FormatChecker()).validate(event_type.example)


@TYPES
def test_an_example_has_all_that_its_schema_knows_and_nothing_else(event_type: EventType) -> None:
    assert set(event_type.example["data"]) == set(event_type.data["properties"])


@TYPES
def test_a_body_of_another_type_or_without_its_data_is_refused(event_type: EventType) -> None:
    validator = Draft202012Validator(event_type.schema)

    assert not validator.is_valid(event_type.example | {"type": "other.event"})
    for name in event_type.data["required"]:
        data = {key: value for key, value in event_type.example["data"].items() if key != name}
        assert not validator.is_valid(event_type.example | {"data": data}), name


@TYPES
def test_an_event_has_a_name_as_standard_webhooks_wants_it(event_type: EventType) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*", event_type.name)
    assert event_type.sentence.endswith(".")
    assert len(outbox.as_json(event_type.example).encode()) < MAX_BYTES


@pytest.mark.django_db
def test_a_type_that_nobody_described_can_not_be_published() -> None:
    with pytest.raises(ValueError, match=r"product\.painted"):
        outbox.publish("product.painted", {})


@pytest.mark.django_db
@pytest.mark.parametrize(("scope", "status"), [("read", 200), ("webhooks", 200), ("import", 403)])
def test_whoever_reads_or_manages_webhooks_may_list_the_types(scope: str, status: int) -> None:
    _, token = token_of(User.objects.create_user("ada"), scope)
    client = APIClient(headers={"authorization": f"Bearer {token}"})

    answer = client.get("/api/v1/webhooks/event-types/")

    assert answer.status_code == status
    if status == 200:
        assert [each["name"] for each in answer.json()["results"]] == list(EVENT_TYPES)
        for each in answer.json()["results"]:
            Draft202012Validator(each["schema"]).validate(each["example"])
