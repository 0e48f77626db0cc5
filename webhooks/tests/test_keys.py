"""The keys of an endpoint: issued once, rotated with an overlap, and nowhere to be read."""

from __future__ import annotations

import base64
import logging
import threading
from datetime import timedelta
from time import time
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook

from common.errors import ConflictError, InvalidInputError
from common.sealing import unseal
from webhooks.keys import (
    MOST_OLD_KEYS,
    IssuedKey,
    issue_keys,
    public_key,
    rotate,
)
from webhooks.models import EndpointSecret, WebhookEndpoint
from webhooks.signing import Ed25519Key, HmacKey, InvalidSecretError, headers, parse_key
from webhooks.targets import read, read_one
from webhooks.tests.receivers import public_half

OWN = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfRB+Nq3rs="


def endpoint(*signatures: str) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        url="https://listener.example/", event_types=["ping"], signatures=list(signatures or ["v1"])
    )


def secrets_of(there: WebhookEndpoint) -> list[str]:
    """The secrets that sign now, as texts, in order."""
    return [key.secret() for key in read_one(there).keys]


def let_time_pass(there: WebhookEndpoint, span: timedelta) -> None:
    """Make the endpoint's keys older by so much."""
    there.secrets.exclude(expires_at=None).update(expires_at=F("expires_at") - span)


def text(issued: list[IssuedKey]) -> str:
    (only,) = issued
    return only.text


@pytest.mark.django_db
def test_a_new_secret_is_told_once_and_signs() -> None:
    there = endpoint()

    told = text(issue_keys(there))

    assert secrets_of(there) == [told]
    Webhook(told).verify(b"{}", headers(read_one(there).keys, "evt_1", int(time()), b"{}"))
    assert issue_keys(there) == []


@pytest.mark.django_db
def test_of_an_ed25519_key_only_the_public_half_is_told() -> None:
    there = endpoint("v1a")

    told = text(issue_keys(there))

    (key,) = read_one(there).keys
    assert isinstance(key, Ed25519Key)
    assert told == key.public() == public_key(there)
    signature = base64.b64decode(key.sign(b"signed").removeprefix("v1a,"))
    public_half(told).verify(signature, b"signed")


@pytest.mark.django_db
@pytest.mark.parametrize("signatures", [["v1"], ["v1a"], ["v1", "v1a"], ["v1a", "v1"]])
def test_an_endpoint_is_signed_for_in_the_kinds_it_names(signatures: list[str]) -> None:
    there = endpoint(*signatures)

    issued = issue_keys(there)
    rotate(there)

    assert [key.kind for key in issued] == signatures
    assert [key.kind for key in read_one(there).keys] == signatures * 2
    sent = headers(read_one(there).keys, "evt_1", 1700000000, b"{}")["webhook-signature"]
    assert [each.partition(",")[0] for each in sent.split(" ")] == signatures * 2


@pytest.mark.django_db
def test_a_kind_that_is_added_gets_a_key_and_one_that_is_dropped_signs_no_more() -> None:
    there = endpoint("v1")
    secret = text(issue_keys(there))

    there.signatures = ["v1", "v1a"]
    (added,) = issue_keys(there)
    assert added.kind == "v1a"
    assert secrets_of(there)[0] == secret
    assert len(secrets_of(there)) == 2

    there.signatures = ["v1a"]
    assert [key.kind for key in read_one(there).keys] == ["v1a"]
    there.signatures = ["v1"]
    assert secrets_of(there) == [secret]
    assert public_key(endpoint("v1")) is None


@pytest.mark.django_db
def test_both_keys_sign_until_the_overlap_is_over() -> None:
    there = endpoint()
    old = text(issue_keys(there))

    new = text(rotate(there))

    assert secrets_of(there) == [new, old]
    for secret in (new, old):
        Webhook(secret).verify(b"{}", headers(read_one(there).keys, "evt_1", int(time()), b"{}"))
    let_time_pass(there, timedelta(hours=23, minutes=59))
    assert secrets_of(there) == [new, old]
    let_time_pass(there, timedelta(minutes=2))
    assert secrets_of(there) == [new]


@pytest.mark.django_db
def test_expired_keys_are_removed_at_the_next_rotation() -> None:
    there = endpoint()
    issue_keys(there)
    second = text(rotate(there, timedelta(hours=1)))
    let_time_pass(there, timedelta(hours=2))

    third = text(rotate(there))

    assert secrets_of(there) == [third, second]
    assert there.secrets.count() == 2


@pytest.mark.django_db
def test_the_newest_of_the_old_keys_comes_first() -> None:
    there = endpoint()
    told = [text(issue_keys(there)), *(text(rotate(there, timedelta(days=7))) for _ in range(3))]

    assert secrets_of(there) == told[::-1]


@pytest.mark.django_db
def test_an_overlap_of_zero_ends_all_old_keys_at_once() -> None:
    there = endpoint("v1", "v1a")
    issue_keys(there)
    rotate(there, timedelta(days=7))

    issued = rotate(there, timedelta(0))

    assert secrets_of(there)[0] == issued[0].text
    assert public_key(there) == issued[1].text
    assert there.secrets.count() == 2


@pytest.mark.django_db
def test_a_shorter_overlap_ends_older_keys_as_soon() -> None:
    there = endpoint()
    issue_keys(there)
    rotate(there, timedelta(days=7))
    last = text(rotate(there, timedelta(hours=1)))

    let_time_pass(there, timedelta(hours=1, minutes=1))

    assert secrets_of(there) == [last]


@pytest.mark.django_db
@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=7, seconds=1)])
def test_the_overlap_has_bounds(overlap: timedelta) -> None:
    there = endpoint()
    secret = text(issue_keys(there))

    with pytest.raises(InvalidInputError, match="from 0 to 7 days") as refused:
        rotate(there, overlap)

    assert refused.value.code == "invalid_overlap"
    assert secrets_of(there) == [secret]


@pytest.mark.django_db
def test_at_most_ten_old_keys_sign() -> None:
    there = endpoint()
    issue_keys(there)
    for _ in range(MOST_OLD_KEYS):
        rotate(there)
    before = secrets_of(there)
    assert len(before) == MOST_OLD_KEYS + 1 == 11

    with pytest.raises(ConflictError, match="overlap of 0, which ends them at once") as refused:
        rotate(there)

    assert refused.value.code == "too_many_old_keys"
    assert secrets_of(there) == before
    told = text(rotate(there, timedelta(0)))
    assert secrets_of(there) == [told]


@pytest.mark.django_db
def test_a_secret_of_ones_own_is_taken() -> None:
    there = endpoint("v1", "v1a")
    private = Ed25519Key.make()

    issue_keys(there, [OWN, private.secret()])
    assert secrets_of(there) == [OWN, private.secret()]

    (v1, v1a) = rotate(there, own=[HmacKey(b"x" * 24).secret()])
    assert v1.text == HmacKey(b"x" * 24).secret()
    assert v1a.text not in (private.public(), private.secret())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("own", "problem"),
    [
        (["whsec_c2hvcnQ="], "has 5 bytes; it takes 24 to 64"),
        (["whsec_"], "Nothing follows whsec_"),
        (["hunter2hunter2"], "must begin with whsec_"),
        ([OWN, OWN], "One secret is taken for each kind of signature: v1"),
        ([Ed25519Key.make().secret()], "One secret is taken for each kind of signature: v1"),
    ],
)
def test_a_secret_that_will_not_do_is_refused_and_changes_nothing(own: list[str], problem: str) -> None:
    there = endpoint()
    secret = text(issue_keys(there))

    with pytest.raises(InvalidSecretError, match=problem) as refused:
        rotate(there, own=own)

    assert secrets_of(there) == [secret]
    assert not any(each.partition("_")[2] in refused.value.detail for each in own if len(each) > 10 and "_" in each)


@pytest.mark.django_db
def test_the_keys_of_many_endpoints_take_two_queries_and_are_parsed_once() -> None:
    many = [endpoint("v1"), endpoint("v1a", "v1"), endpoint()]
    told = [issue_keys(there) for there in many[:2]]

    with CaptureQueriesContext(connection) as queries:
        found = read(each.pk for each in many)

    assert len(queries) == 2
    assert [key.secret() for key in found[many[0].pk].keys] == [text(told[0])]
    assert [key.kind for key in found[many[1].pk].keys] == ["v1a", "v1"]
    assert found[many[2].pk].keys == []
    again = read(each.pk for each in many)
    assert all(one is other for pk in found for one, other in zip(found[pk].keys, again[pk].keys, strict=True))


@pytest.mark.django_db(transaction=True)
def test_rotations_at_the_same_time_come_one_after_the_other() -> None:
    there = endpoint()
    told = [text(issue_keys(there))]

    def turn() -> None:
        try:
            told.append(text(rotate(there)))
        finally:
            connection.close()

    threads = [threading.Thread(target=turn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(told) == 5
    assert sorted(secrets_of(there)) == sorted(told)
    assert there.secrets.filter(expires_at=None).count() == 1


def everything_in_the_tables() -> str:
    """All that a dump of the tables of webhooks would hold, as text."""
    tables = [model._meta.db_table for model in apps.get_app_config("webhooks").get_models()]
    with connection.cursor() as cursor:
        rows: list[Any] = []
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            rows += cursor.fetchall()
    return "\n".join(row for (row,) in rows)


@pytest.mark.django_db
def test_neither_a_dump_nor_a_log_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    there = endpoint("v1", "v1a")
    with caplog.at_level(logging.DEBUG), CaptureQueriesContext(connection) as queries:
        issued = issue_keys(there, [OWN]) + rotate(there)
        logging.getLogger("webhooks").warning("%r %s %r", issued, read_one(there).keys, EndpointSecret.objects.all())
    rows = EndpointSecret.objects.all()
    keys = [parse_key(unseal(row.sealed)) for row in rows]
    dump = everything_in_the_tables()

    assert len(keys) == 4
    assert all(row.sealed in dump for row in rows)
    sql = "\n".join(query["sql"] for query in queries)
    assert "whsk_" not in dump + caplog.text + sql
    for key in keys:
        raw = base64.b64decode(key.secret().partition("_")[2])[:32]
        for written in (key.secret()[-20:], base64.b64encode(raw).decode()[:20], raw.hex()):
            for place in (dump, caplog.text, sql):
                assert written not in place or (isinstance(key, Ed25519Key) and written in key.public())
