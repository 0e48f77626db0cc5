"""Webhooks in the admin: made, tested, looked at, asked for again, and by whom."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from webhooks import deliveries, endpoints
from webhooks.models import Attempt, Delivery, EndpointState, WebhookEndpoint
from webhooks.targets import MASK, own_headers
from webhooks.tests.receivers import receiving

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("local_receivers")]
BASE = "/admin/webhooks/webhookendpoint/"
LOG = "/admin/webhooks/delivery/"


def form(url: str, **changes: Any) -> dict[str, Any]:
    values = {
        "url": url,
        "description": "The shop",
        "enabled": "on",
        "event_types": ["product.updated"],
        "signatures": ["v1"],
        "headers": "Authorization: Bearer hush-hush",
        "timeout_seconds": 15,
        "rate_per_second": 50,
        "concurrency": 25,
        "batch_items": 150,
        "retry_delays": "5, 300",
    }
    return {**values, **changes}


def somebody(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, password="lamp-oak-42", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    assert response.status_code == 200, response
    return str(response.content.decode())


def made(url: str, actor: User | None = None) -> WebhookEndpoint:
    return endpoints.create({"url": url, "event_types": ["product.updated"]}, actor=actor)[0]


def test_a_new_endpoint_shows_its_secret_once_and_never_the_values_of_its_headers(admin_client: Client) -> None:
    with receiving() as receiver:
        page = text(admin_client.post(f"{BASE}add/", form(receiver.url), follow=True))

    endpoint = WebhookEndpoint.objects.get()
    assert "whsec_" in page
    assert endpoint.retry_delays == [5, 300]
    assert own_headers(endpoint) == {"Authorization": "Bearer hush-hush"}
    again = text(admin_client.get(f"{BASE}{endpoint.pk}/change/"))
    assert "whsec_" not in again
    assert "hush-hush" not in again
    assert f"Authorization: {MASK}" in again


def test_a_masked_header_is_kept_when_the_form_is_saved(admin_client: Client) -> None:
    endpoint, _ = endpoints.create({"url": "http://127.0.0.1:9/", "headers": {"X-Key": "hush-hush"}}, actor=None)

    changed = form(endpoint.url, headers=f"X-Key: {MASK}\nX-More: 1")
    admin_client.post(f"{BASE}{endpoint.pk}/change/", changed)

    endpoint.refresh_from_db()
    assert endpoint.description == "The shop"
    assert own_headers(endpoint) == {"X-Key": "hush-hush", "X-More": "1"}


def test_a_masked_header_is_kept_for_no_other_host(admin_client: Client) -> None:
    endpoint, _ = endpoints.create({"url": "http://127.0.0.1:9/", "headers": {"X-Key": "hush-hush"}}, actor=None)
    page = f"{BASE}{endpoint.pk}/change/"

    refused = text(admin_client.post(page, form("http://127.0.0.2:9/", headers=f"X-Key: {endpoints.MASK}")))
    admin_client.post(page, form("http://127.0.0.2:9/", headers="X-Key: another"))

    assert "was written for another host" in refused
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoints.own_headers(endpoint)) == ("http://127.0.0.2:9/", {"X-Key": "another"})


def test_headers_that_no_key_decrypts_any_more_are_written_anew(admin_client: Client, settings: Settings) -> None:
    with receiving() as receiver:
        admin_client.post(f"{BASE}add/", form(receiver.url))
        settings.WEBHOOK_SECRET_KEYS = [Fernet.generate_key().decode()]
        endpoint = WebhookEndpoint.objects.get()
        page = f"{BASE}{endpoint.pk}/change/"

        assert "(unreadable)" in text(admin_client.get(page))
        refused = text(admin_client.post(page, form(receiver.url, headers="(unreadable): ••••")))
        assert "write them anew, or leave none" in refused
        admin_client.post(page, form(receiver.url, headers="X-Key: hush"))

    endpoint.refresh_from_db()
    assert own_headers(endpoint) == {"X-Key": "hush"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("url", "http://10.0.0.1/"), ("headers", "Host: other"), ("retry_delays", "0"), ("rate_per_second", 0)],
)
def test_what_is_wrong_is_said_at_its_field(admin_client: Client, field: str, value: Any) -> None:
    response = admin_client.post(f"{BASE}add/", form("http://127.0.0.1:9/") | {field: value})

    assert list(response.context["adminform"].form.errors) == [field]
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_test_button_shows_the_code_the_time_and_the_reply(admin_client: Client) -> None:
    with receiving() as receiver:
        endpoint = made(receiver.url)
        page = text(admin_client.post(f"{BASE}{endpoint.pk}/test/", {"event_type": "ping"}, follow=True))

    attempt = Attempt.objects.get()
    assert "HTTP 200" in page
    assert f"{attempt.total_ms} ms" in page
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("fields", "look", "words"),
    [
        ({"failing_since": timezone.now()}, "FAILURE", "Attempts fail."),
        ({"open_until": timezone.now()}, "TROUBLE", "Most attempts failed of late, so its deliveries wait."),
    ],
)
def test_the_page_of_an_endpoint_explains_its_state(
    admin_client: Client, fields: dict[str, Any], look: str, words: str
) -> None:
    endpoint = made("http://127.0.0.1:9/")
    EndpointState.objects.update_or_create(pk=endpoint.pk, defaults=fields)

    page = text(admin_client.get(f"{BASE}{endpoint.pk}/change/"))

    assert f'class="state {look}">' in page
    assert words in page


def test_an_endpoint_is_paused_resumed_and_given_a_new_secret(admin_client: Client) -> None:
    endpoint = made("http://127.0.0.1:9/")

    admin_client.post(f"{BASE}{endpoint.pk}/pause/")
    endpoint.refresh_from_db()
    assert not endpoint.enabled
    admin_client.post(f"{BASE}{endpoint.pk}/resume/")
    endpoint.refresh_from_db()
    assert endpoint.enabled
    page = text(admin_client.post(f"{BASE}{endpoint.pk}/rotate/", {"overlap_hours": "48"}, follow=True))
    assert "whsec_" in page
    assert endpoint.secrets.count() == 2


def test_a_delivery_shows_its_attempts_and_is_asked_for_again(admin_client: Client) -> None:
    endpoint = made("http://127.0.0.1:9/")
    attempt = deliveries.send_test(endpoint, "ping")

    page = text(admin_client.get(f"{LOG}{attempt.delivery_id}/change/"))
    assert attempt.detail.split("'")[0] in page
    assert "First byte" in page
    admin_client.post(f"{LOG}redeliver/", {"delivery": [str(attempt.delivery_id)]})
    assert Delivery.objects.get().state == Delivery.State.PENDING


def test_the_log_is_filtered_and_turned_without_counting(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    endpoint = made("http://127.0.0.1:9/")
    Delivery.objects.bulk_create(
        Delivery(event_id=endpoint.pk, endpoint_id=endpoint.pk, event_type="ping") for _ in range(60)
    )

    with django_assert_max_num_queries(12) as queries:
        first = admin_client.get(LOG, {"endpoint": endpoint.pk, "state": "pending", "hours": "1"})
    second = admin_client.get(LOG + first.context["older"])

    assert (len(first.context["rows"]), len(second.context["rows"])) == (50, 10)
    assert not any("count(" in query["sql"].lower() for query in queries.captured_queries)
    assert admin_client.get(LOG, {"state": "failed"}).context["rows"] == []
    assert admin_client.get(LOG, {"endpoint": "nonsense"}).context["rows"] == []


def test_deleting_an_endpoint_discards_what_waits(admin_client: Client) -> None:
    endpoint = made("http://127.0.0.1:9/")
    Delivery.objects.create(event_id=endpoint.pk, endpoint_id=endpoint.pk, event_type="ping")

    admin_client.post(f"{BASE}{endpoint.pk}/delete/", {"post": "yes"})

    assert not WebhookEndpoint.objects.exists()
    assert Delivery.objects.get().state == Delivery.State.DISCARDED


def test_who_may_only_look_changes_nothing() -> None:
    endpoint = made("http://127.0.0.1:9/")
    delivery = Delivery.objects.create(
        event_id=endpoint.pk, endpoint_id=endpoint.pk, event_type="ping", state=Delivery.State.FAILED
    )
    client = somebody("bob", "view_webhookendpoint", "view_delivery")

    assert "Send an example" not in text(client.get(f"{BASE}{endpoint.pk}/change/"))
    for name in ("test", "rotate", "pause", "resume", "redeliver"):
        assert client.post(f"{BASE}{endpoint.pk}/{name}/", {"event_type": "ping"}).status_code == 403
    assert client.post(f"{LOG}redeliver/", {"delivery": [str(delivery.pk)]}).status_code == 403
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.FAILED


def test_who_may_not_view_all_endpoints_sees_their_own() -> None:
    others = made("http://127.0.0.1:9/others")
    client = somebody("eve", "add_webhookendpoint", "change_webhookendpoint")
    own = made("http://127.0.0.1:9/own", User.objects.get(username="eve"))
    delivery = Delivery.objects.create(event_id=others.pk, endpoint_id=others.pk, event_type="ping")

    page = text(client.get(BASE))
    assert own.url in page
    assert others.url not in page
    assert client.post(f"{BASE}{others.pk}/pause/").status_code == 404
    assert client.get(f"{LOG}{delivery.pk}/change/").status_code == 404
    assert client.get(LOG).context["rows"] == []


def test_who_has_no_right_to_webhooks_sees_none_of_it() -> None:
    client = somebody("mallory")

    assert client.get(BASE).status_code == 403
    assert client.get(LOG).status_code == 403
    assert client.get("/admin/").context["webhooks"] is None


def test_the_dashboard_names_what_is_in_trouble(admin_client: Client) -> None:
    endpoint = made("http://127.0.0.1:9/")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(enabled=False, disabled_reason="Gone.")

    page = text(admin_client.get("/admin/"))

    assert 'class="state FAILURE">Disabled' in page
    assert f"{BASE}{endpoint.pk}/change/" in page
