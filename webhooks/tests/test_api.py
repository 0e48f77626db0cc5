"""Endpoints, deliveries and attempts by REST."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from pytest_django import Settings
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from accounts.tests.people import token_of
from common.errors import NotFoundError
from webhooks import endpoints, keys, outbox, targets
from webhooks.models import Attempt, Delivery, EndpointSecret, Event, WebhookEndpoint

pytestmark = pytest.mark.django_db

ENDPOINTS = "/api/v1/webhooks/"
DELIVERIES = "/api/v1/webhooks/deliveries/"
ATTEMPTS = "/api/v1/webhooks/attempts/"
URL = "https://93.184.215.14/hook"
"""An address, so that no name has to be looked up."""


def client_of(name: str, *scopes: str) -> APIClient:
    user, _ = User.objects.get_or_create(username=name)
    _, full = token_of(user, *scopes)
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {full}")
    return client


@pytest.fixture
def client() -> APIClient:
    return client_of("ada", "webhooks")


def made(client: APIClient, **fields: Any) -> dict[str, Any]:
    answer = client.post(ENDPOINTS, {"url": URL, **fields}, format="json")
    assert answer.status_code == 201, answer.content
    document: dict[str, Any] = answer.json()
    return document


def address(endpoint: dict[str, Any], action: str = "") -> str:
    return f"{ENDPOINTS}{endpoint['id']}/{action}/" if action else f"{ENDPOINTS}{endpoint['id']}/"


def finished(delivery: Delivery, state: str, **attempt: Any) -> Delivery:
    """The delivery as a dispatcher leaves it, with one attempt."""
    Delivery.objects.filter(pk=delivery.pk).update(state=state, attempts=1, last_status=attempt.get("status"))
    Attempt.objects.create(
        delivery_id=delivery.pk,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        number=1,
        started_at=datetime.now(UTC),
        url=URL,
        request_headers={"webhook-id": "evt_1"},
        total_ms=12,
        **attempt,
    )
    return Delivery.objects.get(pk=delivery.pk)


# --- endpoints -----------------------------------------------------------------------------------


def test_an_endpoint_is_made_with_a_secret_that_is_shown_once(client: APIClient) -> None:
    document = made(client, event_types=["product.updated", "product.created"])

    assert document["secret"].startswith("whsec_")
    assert document["event_types"] == ["product.created", "product.updated"]
    assert (document["enabled"], document["signatures"], document["created_by"]) == (True, ["v1"], "ada")
    again = client.get(address(document)).json()
    assert "secret" not in again
    assert again == {name: value for name, value in document.items() if name != "secret"}
    assert EndpointSecret.objects.get().sealed != document["secret"]


def test_an_endpoint_whose_maker_does_not_say_is_told_all_but_batches(client: APIClient) -> None:
    chosen = made(client)["event_types"]

    assert "products.changed" not in chosen
    assert {"product.updated", "import.completed", "endpoint.disabled", "ping"} <= set(chosen)


def test_its_receiver_may_have_a_secret_already(client: APIClient) -> None:
    secret = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY="

    assert made(client, secret=secret)["secret"] == secret


def test_a_public_key_is_shown_at_any_time(client: APIClient) -> None:
    document = made(client, signatures=["v1a"])

    assert document["secret"] is None
    assert document["public_key"].startswith("whpk_")
    assert client.get(address(document)).json()["public_key"] == document["public_key"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"url": "ftp://93.184.215.14/"}, "/url"),
        ({"event_types": ["product.sold"]}, "/event_types"),
        ({"event_types": []}, "/event_types"),
        ({"headers": {"Host": "elsewhere"}}, "/headers"),
        ({"headers": {"X-A": "a\r\nb"}}, "/headers"),
        ({"timeout_seconds": 31}, "/timeout_seconds"),
        ({"retry_delays": []}, "/retry_delays"),
        ({"retry_delays": [8 * 24 * 3600]}, "/retry_delays"),
        ({"signatures": []}, "/signatures"),
        ({"secrets": "x"}, ""),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_what_can_be_no_endpoint_is_refused_by_the_field(
    client: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    answer = client.post(ENDPOINTS, {"url": URL, **fields}, format="json")

    if not pointer:  # a field of the answer, which may come back with it
        assert answer.status_code == 201
        return
    assert answer.status_code == 400
    assert any(error["pointer"].startswith(pointer) for error in answer.json()["errors"])
    assert not WebhookEndpoint.objects.exists()


def test_all_that_is_wrong_is_said_at_once(client: APIClient) -> None:
    answer = client.post(ENDPOINTS, {"url": "http://10.0.0.1/", "event_types": ["a.b"]}, format="json")

    assert {error["pointer"] for error in answer.json()["errors"]} == {"/url", "/event_types"}


def test_headers_are_sent_but_never_shown(client: APIClient) -> None:
    document = made(client, headers={"Authorization": "Bearer canary-7311"})

    assert document["headers"] == {"Authorization": "••••"}
    endpoint = WebhookEndpoint.objects.get()
    assert "canary" not in endpoint.sealed_headers
    assert "canary" not in client.get(ENDPOINTS).content.decode()


def test_what_no_key_decrypts_any_more_is_said_so_and_can_be_given_anew(client: APIClient, settings: Settings) -> None:
    document = made(client, headers={"Authorization": "Bearer hush"}, signatures=["v1", "v1a"])
    settings.WEBHOOK_SECRET_KEYS = [Fernet.generate_key().decode()]
    keys._parsed.cache_clear()  # as in another process

    [listed] = client.get(ENDPOINTS).json()["results"]
    assert listed["headers"] == {"(unreadable)": "••••"}
    assert listed["public_key"] is None
    rotated = client.post(address(document, "rotate"), {}, format="json").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["public_key"].startswith("whpk_")
    changed = client.patch(address(document), {"headers": {"X-Key": "hush"}}, format="json").json()
    assert changed["headers"] == {"X-Key": "••••"}
    assert targets.read_one(WebhookEndpoint.objects.get()).problem == ""


@pytest.mark.parametrize("change", ["update", "rotate", "delete"])
def test_what_somebody_else_has_just_removed_is_not_found(client: APIClient, change: str) -> None:
    made(client)
    endpoint = WebhookEndpoint.objects.get()
    WebhookEndpoint.objects.all().delete()
    calls: dict[str, Any] = {
        "update": lambda: endpoints.update(endpoint, {"enabled": True}, actor=None),
        "rotate": lambda: endpoints.rotate(endpoint, timedelta(0), actor=None),
        "delete": lambda: endpoints.delete(endpoint, actor=None),
    }

    with pytest.raises(NotFoundError):
        calls[change]()
    told = AuditEntry.objects.filter(action__startswith="webhook.").values_list("action", flat=True)
    assert list(told) == ["webhook.created"]


def test_what_is_left_out_of_a_change_stays(client: APIClient) -> None:
    document = made(client, description="Shop", headers={"X-Key": "k"}, rate_per_second=7)

    changed = client.patch(address(document), {"description": "Till"}, format="json").json()

    assert changed["secret"] is None
    unchanged = {name for name in document if name not in ("description", "updated_at", "secret")}
    assert {name: changed[name] for name in unchanged} == {name: document[name] for name in unchanged}


@pytest.mark.parametrize(
    "url", ["https://93.184.215.15/hook", "http://93.184.215.14/hook", "https://93.184.215.14:8443/"]
)
def test_headers_go_to_no_other_host_than_they_were_written_for(client: APIClient, url: str) -> None:
    document = made(client, headers={"Authorization": "Bearer hush"})

    refused = client.patch(address(document), {"url": url}, format="json")

    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert refused.json()["errors"][0]["code"] == "headers_of_another_host"
    assert client.get(address(document)).json()["url"] == URL
    assert client.patch(address(document), {"url": f"{URL}/other"}, format="json").status_code == 200
    changed = client.patch(address(document), {"url": url, "headers": {"X-Key": "k"}}, format="json").json()
    assert (changed["url"], changed["headers"]) == (url, {"X-Key": "••••"})


def test_put_gives_the_defaults_to_what_is_left_out(client: APIClient) -> None:
    document = made(client, description="Shop", headers={"X-Key": "k"}, rate_per_second=7)

    changed = client.put(address(document), {"url": URL}, format="json").json()

    assert (changed["description"], changed["headers"], changed["rate_per_second"]) == ("", {}, 50)
    assert changed["secrets"] == document["secrets"]


def test_a_rotated_secret_leaves_the_old_one_for_a_while(client: APIClient) -> None:
    document = made(client)

    rotated = client.post(address(document, "rotate"), {"overlap_hours": 2}, format="json").json()

    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != document["secret"]
    old, new = sorted(rotated["secrets"], key=lambda each: each["expires_at"] is None)
    until = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < until <= timedelta(hours=2)
    assert new["expires_at"] is None


def test_what_a_removed_endpoint_was_to_be_told_is_discarded(client: APIClient) -> None:
    document = made(client)
    outbox.publish("ping", {})

    assert client.delete(address(document)).status_code == 204

    assert Delivery.objects.get().state == "discarded"
    assert not EndpointSecret.objects.exists()
    assert client.get(address(document)).status_code == 404


def test_a_paused_endpoint_is_still_written_for_and_resumes(client: APIClient) -> None:
    document = made(client)

    paused = client.post(address(document, "pause")).json()
    outbox.publish("ping", {})

    assert (paused["enabled"], paused["disabled_reason"], paused["health"]["state"]) == (False, "", "paused")
    assert paused["disabled_at"]
    assert client.get(address(document)).json()["health"]["backlog"] == 1
    resumed = client.post(address(document, "resume")).json()
    assert (resumed["enabled"], resumed["disabled_at"]) == (True, None)


# --- whose ---------------------------------------------------------------------------------------


def test_an_endpoint_of_somebody_else_is_not_there(client: APIClient) -> None:
    document = made(client)
    outbox.publish("ping", {})
    delivery = Delivery.objects.get()
    finished(delivery, "failed", status=500)
    attempt = Attempt.objects.get()
    stranger = client_of("eve", "webhooks", "read", "write", "import")

    for method, path in [
        ("get", address(document)),
        ("patch", address(document)),
        ("put", address(document)),
        ("delete", address(document)),
        *[("post", address(document, action)) for action in ("rotate", "test", "pause", "resume")],
        ("get", f"{DELIVERIES}{delivery.pk}/"),
        ("post", f"{DELIVERIES}{delivery.pk}/redeliver/"),
        ("get", f"{ATTEMPTS}{attempt.pk}/"),
        ("put", f"/webhooks/update_by_id/{quote(URL, safe='')}/inactive"),
        ("delete", f"/webhooks/del_by_url/{quote(URL, safe='')}"),
    ]:
        body = {"url": URL} if method == "put" else {}
        assert getattr(stranger, method)(path, body, format="json").status_code == 404, (method, path)
    for path in (ENDPOINTS, DELIVERIES, ATTEMPTS):
        assert stranger.get(path).json()["results"] == []
    assert stranger.get("/webhooks/getall").json() == []
    answer = stranger.post(f"{DELIVERIES}redeliver/", {"ids": [str(delivery.pk)]}, format="json")
    assert answer.json() == {"redelivered": 0}


def test_who_may_view_endpoints_sees_everybodys(client: APIClient) -> None:
    made(client)
    outbox.publish("ping", {})
    overseer = client_of("olga", "webhooks")
    permission = Permission.objects.get(codename="view_webhookendpoint")
    User.objects.get(username="olga").user_permissions.add(permission)

    assert len(overseer.get(ENDPOINTS).json()["results"]) == 1
    assert len(overseer.get(DELIVERIES).json()["results"]) == 1


@pytest.mark.parametrize("path", [ENDPOINTS, DELIVERIES, ATTEMPTS, "/webhooks/getall"])
def test_other_scopes_open_nothing(path: str) -> None:
    assert client_of("ada", "read", "write", "import").get(path).status_code == 403


# --- the log -------------------------------------------------------------------------------------


def test_a_delivery_is_shown_with_what_is_sent_and_every_attempt(client: APIClient) -> None:
    made(client)
    outbox.publish("ping", {"word": "höre"})
    delivery = finished(Delivery.objects.get(), "failed", status=503, reply="busy")

    shown = client.get(f"{DELIVERIES}{delivery.pk}/").json()

    assert shown["body"] == json.loads(Event.objects.get().body)
    assert (shown["state"], shown["last_status"], shown["next_attempt_at"]) == ("failed", 503, None)
    [attempt] = shown["attempt_log"]
    assert (attempt["number"], attempt["status"], attempt["reply"], attempt["total_ms"]) == (1, 503, "busy", 12)
    assert attempt == client.get(f"{ATTEMPTS}{attempt['id']}/").json()


def test_deliveries_are_filtered(client: APIClient) -> None:
    one, other = made(client), made(client, event_types=["ping"])
    outbox.publish("ping", {})
    outbox.publish("endpoint.disabled", {})
    failed = finished(Delivery.objects.filter(endpoint_id=other["id"]).get(), "failed")

    def found(query: str) -> set[str]:
        answer = client.get(f"{DELIVERIES}?{query}")
        assert answer.status_code == 200, answer.content
        return {each["id"] for each in answer.json()["results"]}

    assert len(found("")) == 3
    assert len(found(f"endpoint={one['id']}")) == 2
    assert found("state=failed") == {str(failed.pk)}
    assert len(found("event_type=endpoint.disabled")) == 1
    for none in ("", "product.upadted"):
        assert client.get(f"{DELIVERIES}?event_type={none}").json()["errors"][0]["code"] == "invalid_choice"
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert found(f"since={tomorrow}") == set()
    assert len(found(f"until={tomorrow}")) == 3


@pytest.mark.parametrize("query", ["state=lost", "endpoint=7", "since=yesterday", "colour=red", "cursor=7"])
def test_a_filter_that_is_none_is_refused(client: APIClient, query: str) -> None:
    assert client.get(f"{DELIVERIES}?{query}").status_code == 400


# --- once more -----------------------------------------------------------------------------------


def test_one_is_delivered_once_more_under_the_same_id(client: APIClient) -> None:
    made(client)
    outbox.publish("ping", {})
    delivery = finished(Delivery.objects.get(), "delivered", status=200)

    answer = client.post(f"{DELIVERIES}{delivery.pk}/redeliver/")

    assert answer.status_code == 202, answer.content
    assert (answer.json()["state"], answer.json()["attempts"], answer.json()["trigger"]) == ("pending", 0, "redelivery")
    assert answer.json()["event_id"] == f"evt_{delivery.event_id.hex}"
    assert Event.objects.count() == 1


def test_what_failed_since_a_time_is_delivered_once_more(client: APIClient) -> None:
    document = made(client)
    for _ in range(4):
        outbox.publish("ping", {})
    failed, also_failed, delivered, _ = Delivery.objects.order_by("id")
    for delivery in (failed, also_failed):
        finished(delivery, "failed")
    finished(delivered, "delivered")
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    body = {"endpoint": document["id"], "since": since}
    assert client.post(f"{DELIVERIES}redeliver/", body, format="json").json() == {"redelivered": 2}
    assert set(Delivery.objects.filter(trigger="redelivery").values_list("pk", flat=True)) == {
        failed.pk,
        also_failed.pk,
    }
    ids = {"ids": [str(delivered.pk), str(uuid.uuid4())]}
    assert client.post(f"{DELIVERIES}redeliver/", ids, format="json").json() == {"redelivered": 1}


ONE = str(uuid.uuid4())


@pytest.mark.parametrize(
    "body", [{}, {"endpoint": ONE}, {"since": "2026-01-01T00:00:00Z"}, {"state": "all"}, {"ids": []}]
)
def test_what_is_to_be_delivered_once_more_has_to_be_said(client: APIClient, body: dict[str, Any]) -> None:
    assert client.post(f"{DELIVERIES}redeliver/", body, format="json").status_code == 400


@pytest.mark.parametrize(
    "more", [{"state": "all"}, {"until": "2026-01-01T00:00:00Z"}, {"endpoint": ONE, "since": "2026-01-01T00:00:00Z"}]
)
def test_what_is_to_be_delivered_once_more_is_said_in_one_way(client: APIClient, more: dict[str, Any]) -> None:
    answer = client.post(f"{DELIVERIES}redeliver/", {"ids": [ONE], **more}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (400, "contradictory")
    assert (
        answer.json()["detail"] == f"`ids` names the deliveries already: leave {', '.join(sorted(more))} out, or `ids`."
    )


def test_an_example_of_what_is_no_event_is_refused(client: APIClient) -> None:
    answer = client.post(address(made(client), "test"), {"event_type": "product.sold"}, format="json")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/event_type")
    assert "'product.sold' is no type of event. There are: product.created," in answer.json()["detail"]


@pytest.mark.parametrize(
    ("action", "body"), [("rotate", {"overlap": 2}), ("test", {"type": "ping"}), ("redeliver", {"id": [ONE]})]
)
def test_a_field_that_nobody_would_read_is_refused(client: APIClient, action: str, body: dict[str, Any]) -> None:
    path = f"{DELIVERIES}redeliver/" if action == "redeliver" else address(made(client), action)

    assert client.post(path, body, format="json").json()["code"] == "unknown_field"


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(client: APIClient) -> None:
    """JSON knows one kind of numbers: some programs write 2 as 2.0."""
    assert made(client, rate_per_second=2.0)["rate_per_second"] == 2


# --- the original's paths ------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_original_paths_work_as_they_did(client: APIClient, slash: str) -> None:
    answer = client.post(f"/webhooks/create{slash}", {"url": URL}, format="json")
    assert answer.status_code == 201
    assert answer.json()["secret"].startswith("whsec_")
    assert [each["url"] for each in client.get(f"/webhooks/getall{slash}").json()] == [URL]

    encoded = quote(URL, safe="")
    for word, enabled in [("inactive", False), ("active", True), ("false", False), ("true", True)]:
        [switched] = client.put(f"/webhooks/update_by_id/{encoded}/{word}{slash}").json()
        assert switched["enabled"] is enabled
    assert client.put(f"/webhooks/update_by_id/{encoded}/perhaps{slash}").status_code == 400
    assert client.delete(f"/webhooks/del_by_url/{encoded}{slash}").status_code == 204
    assert client.delete(f"/webhooks/del_by_url/{encoded}{slash}").status_code == 404
    assert not WebhookEndpoint.objects.exists()


# --- the audit log -------------------------------------------------------------------------------


def test_what_is_done_to_an_endpoint_is_in_the_audit_log(client: APIClient) -> None:
    document = made(client)
    client.patch(address(document), {"description": "Till"}, format="json")
    client.post(address(document, "rotate"), {}, format="json")
    client.delete(address(document))

    entries = AuditEntry.objects.filter(action__startswith="webhook.").order_by("id")
    assert [(entry.action, entry.actor_name, entry.object_id) for entry in entries] == [
        (f"webhook.{what}", "ada", document["id"]) for what in ("created", "changed", "secret_rotated", "deleted")
    ]
    assert document["secret"] not in str([entry.details for entry in entries])


def test_a_list_of_many_endpoints_takes_as_many_queries_as_one_of_one(
    client: APIClient, django_assert_max_num_queries: Any
) -> None:
    made(client, signatures=["v1", "v1a"])

    def queries() -> int:
        with django_assert_max_num_queries(50) as asked:
            assert all(each["public_key"] for each in client.get(ENDPOINTS).json()["results"])
        return len(asked)

    queries()  # the first one notes that the token is in use
    few = queries()
    for _ in range(5):
        made(client, signatures=["v1a"])

    assert queries() == few
