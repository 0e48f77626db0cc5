"""Endpoints that the service turns off, and who is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models.functions import Now

from accounts.models import User
from common.tests.waiting import wait_until
from webhooks import deliveries, dispatcher, outbox, switching
from webhooks.models import Delivery, EndpointState, Event, WebhookEndpoint
from webhooks.results import Trouble
from webhooks.tests.receivers import endpoint_of, receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("local_receivers")]


@pytest.fixture(autouse=True)
def told(settings: Any) -> None:
    settings.WEBHOOK_ALERT_EMAILS = ["ops@catalogue.example"]
    settings.SITE_URL = "https://catalogue.example/"


def failing_for(endpoint: WebhookEndpoint, days: float, messages: int = 20) -> None:
    """As if it had failed for so long."""
    EndpointState.objects.update_or_create(
        pk=endpoint.pk,
        defaults={"failing_since": Now() - timedelta(days=days), "failed_messages": messages, "open_until": None},
    )


def fail_once(endpoint: WebhookEndpoint) -> None:
    outbox.publish("ping", {}, endpoint_id=endpoint.pk)
    dispatcher.run()


def test_after_a_day_without_success_people_are_warned_once(mailoutbox: list[EmailMessage]) -> None:
    with receiving(lambda got: (503, {}, 0.0)) as receiver:
        maker = User.objects.create_user("ada", email="ada@shop.example")
        endpoint = endpoint_of(receiver, created_by=maker)
        failing_for(endpoint, 0.9)
        fail_once(endpoint)
        assert not mailoutbox

        failing_for(endpoint, 1.1)
        fail_once(endpoint)
        fail_once(endpoint)

    [mail] = mailoutbox
    assert mail.to == ["ada@shop.example", "ops@catalogue.example"]
    assert endpoint.url in mail.body and "ping" in mail.body and "503" in mail.body
    assert f"https://catalogue.example/admin/webhooks/webhookendpoint/{endpoint.pk}/change/" in mail.body
    endpoint.refresh_from_db()
    assert endpoint.enabled


def test_after_five_days_it_is_turned_off_and_all_are_told(mailoutbox: list[EmailMessage]) -> None:
    with receiving(lambda got: (503, {}, 0.0)) as receiver, receiving() as other:
        endpoint = endpoint_of(receiver, "ping", "endpoint.disabled")
        endpoint_of(other, "endpoint.disabled")
        failing_for(endpoint, 5.1)
        fail_once(endpoint)
        dispatcher.run()

        assert [got.data["endpoint_id"] for got in other.got] == [str(endpoint.pk)]
        assert other.got[0].data["deliveries_waiting"] == 1
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "No delivery has succeeded for 5 days.")
    assert endpoint.disabled_at is not None
    [mail] = mailoutbox
    assert "turned off" in mail.subject and "503" in mail.body
    parked = Delivery.objects.filter(endpoint_id=endpoint.pk, state="pending")
    assert [each.event_type for each in parked] == ["ping"], "it waits; what is said of itself does not"


def test_the_event_tells_what_the_catalogue_of_events_says() -> None:
    from webhooks.event_types import EVENT_TYPES

    with receiving() as receiver, receiving() as other:
        endpoint = endpoint_of(receiver)
        endpoint_of(other, "endpoint.disabled")
        switching.turn_off(Trouble(endpoint.pk, "It answered 500.", "It was enough.", "ping"))

    body = json.loads(Event.objects.get(event_type="endpoint.disabled").body)
    example = EVENT_TYPES["endpoint.disabled"].example
    assert (body.keys(), body["data"].keys()) == (example.keys(), example["data"].keys())


def test_few_messages_turn_nothing_off() -> None:
    with receiving(lambda got: (503, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver)
        failing_for(endpoint, 6, messages=3)
        fail_once(endpoint)

    endpoint.refresh_from_db()
    assert endpoint.enabled


def test_turned_on_again_it_begins_anew_and_gets_what_waited() -> None:
    with receiving(lambda got: (503, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver)
        failing_for(endpoint, 5.1)
        fail_once(endpoint)
        outbox.publish("ping", {}, endpoint_id=endpoint.pk)
        assert dispatcher.run() == 0

        receiver.answer = lambda got: (200, {}, 0.0)
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(enabled=True)
        deliveries.begin_anew(endpoint)
        assert dispatcher.run() == 2
    state = EndpointState.objects.get(pk=endpoint.pk)
    assert (state.failing_since, state.failed_messages, state.open_until) == (None, 0, None)


def test_it_is_turned_off_once(mailoutbox: list[EmailMessage]) -> None:
    with receiving() as receiver:
        trouble = Trouble(endpoint_of(receiver).pk, "It answered 410.", "It is gone.", "ping")

        assert switching.turn_off(trouble)
        assert not switching.turn_off(trouble)
    assert len(mailoutbox) == 1


def test_a_mail_server_that_is_down_holds_up_nothing(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        assert switching.turn_off(Trouble(endpoint.pk, "It answered 410.", "It is gone.", "ping"))

    endpoint.refresh_from_db()
    assert not endpoint.enabled
    assert "webhook_mail_not_sent" in caplog.text


class SlowMail(BaseEmailBackend):
    """A mail server that says nothing until it is let."""

    asked, may_answer = threading.Event(), threading.Event()
    subjects: ClassVar[list[str]] = []

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        self.asked.set()
        assert self.may_answer.wait(20)
        self.subjects.extend(str(each.subject) for each in email_messages)
        return len(email_messages)


def test_a_mail_server_that_is_slow_holds_up_no_delivery_and_loses_no_mail(settings: Any) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.SlowMail"
    with receiving(lambda got: (503, {}, 0.0)) as failing, receiving() as works:
        for number in range(3):
            failing_for(endpoint_of(failing, description=f"Shop {number}"), 1.1)
            failing.secret = ""  # each has its own
        endpoint = endpoint_of(works, "import.started")
        outbox.publish("ping", {})
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        try:
            assert SlowMail.asked.wait(20)
            outbox.publish("import.started", {})
            delivered = Delivery.objects.filter(endpoint_id=endpoint.pk, state="delivered")
            wait_until(delivered.exists, "it is delivered, and that is written down", 5)
            assert not SlowMail.subjects
        finally:
            SlowMail.may_answer.set()
            thread.join()

    assert sorted(SlowMail.subjects) == [f"Webhook endpoint fails: Shop {number}" for number in range(3)]


def test_a_description_of_several_lines_is_one_line_of_a_subject(mailoutbox: list[EmailMessage]) -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver, description="Shop\r\nBcc: all@shop.example")
        switching.turn_off(Trouble(endpoint.pk, "It answered 410.", "It is gone.", "ping"))

    assert [str(mail.subject) for mail in mailoutbox] == ["Webhook endpoint turned off: Shop Bcc: all@shop.example"]


def test_who_has_left_is_told_no_more() -> None:
    with receiving() as receiver:
        maker = User.objects.create_user("ada", email="ada@shop.example", is_active=False)
        assert switching.recipients(endpoint_of(receiver, created_by=maker)) == ["ops@catalogue.example"]


def test_nobody_to_tell_is_no_error(settings: Any, mailoutbox: list[EmailMessage]) -> None:
    settings.WEBHOOK_ALERT_EMAILS = []
    with receiving() as receiver:
        switching.turn_off(Trouble(endpoint_of(receiver).pk, "It answered 410.", "It is gone.", "ping"))

    assert not mailoutbox
