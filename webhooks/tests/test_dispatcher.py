"""What the dispatcher does with what is due: real sockets, a real database, as many at a time as there are."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.db.models.functions import Now

from common.tests.waiting import wait_until
from webhooks import claims, deliveries, dispatcher, keys, outbox
from webhooks.claims import Claimed
from webhooks.dispatcher import Dispatcher
from webhooks.models import (
    Attempt,
    Delivery,
    EndpointMinute,
    EndpointState,
    Event,
    Lane,
    Trigger,
    WebhookEndpoint,
    message_id,
)
from webhooks.tests.receivers import Answer, Got, endpoint_of, receiving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("local_receivers")]


def say(count: int = 1, **options: Any) -> list[str]:
    """Publish so many events; returns their `webhook-id`s."""
    ids = [outbox.publish("ping", {"number": number}, **options) for number in range(count)]
    return [message_id(each) for each in ids if each]


def make_due() -> None:
    """As if the time of all next attempts, and of all breakers, had come."""
    Delivery.objects.filter(state="pending").update(due_at=Now())
    EndpointState.objects.filter(open_until__isnull=False).update(open_until=Now())


def state_of(endpoint: WebhookEndpoint) -> EndpointState:
    return EndpointState.objects.get(pk=endpoint.pk)


def seconds_to_next() -> float:
    """From the end of the last attempt to the next."""
    delivery, attempt = Delivery.objects.get(), Attempt.objects.latest("id")
    return (delivery.due_at - attempt.started_at).total_seconds()


@contextmanager
def running(count: int = 1, **options: Any) -> Iterator[list[Dispatcher]]:
    """So many dispatchers at a time, until the end of the block; they go on when there is nothing to do."""
    over = threading.Event()
    all_of_them: list[Dispatcher] = []

    def go_on() -> None:
        while not over.is_set():
            one = Dispatcher(is_to_stop=over.is_set, **options)
            all_of_them.append(one)
            asyncio.run(one.run())
            over.wait(0.05)

    threads = [threading.Thread(target=go_on) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield all_of_them
    finally:
        over.set()
        for thread in threads:
            thread.join()


# --- delivering ----------------------------------------------------------------------------------


def test_what_is_due_is_delivered_once_and_written_down() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver)
        said = say(30)

        assert dispatcher.run() == 30

    assert sorted(receiver.ids) == sorted(said)
    assert {got.body.decode() for got in receiver.got} == set(Event.objects.values_list("body", flat=True))
    assert Delivery.objects.filter(state="delivered", attempts=1, last_status=200, claim=None).count() == 30
    attempt = Attempt.objects.latest("id")
    assert (attempt.status, attempt.url, attempt.number, attempt.address) == (200, endpoint.url, 1, "127.0.0.1")
    assert Attempt.objects.filter(reused=True).exists()
    assert sum(EndpointMinute.objects.filter(outcome="success").values_list("attempts", flat=True)) == 30
    assert state_of(endpoint).totals == {"success": 30}


@pytest.mark.usefixtures("patient_dispatchers")
def test_nothing_to_do_is_done_at_once() -> None:
    started = time.monotonic()

    assert dispatcher.run() == 0
    assert time.monotonic() - started < dispatcher.LINGER_SECONDS


@pytest.mark.usefixtures("patient_dispatchers")
def test_what_comes_shortly_after_is_delivered_by_the_same_dispatcher() -> None:
    with receiving() as receiver:
        endpoint_of(receiver)
        say()
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        wait_until(lambda: Delivery.objects.filter(state="delivered").count() == 1, "the first is delivered")

        say()
        wait_until(lambda: len(receiver.got) == 2, "the second is delivered")
        thread.join()


def test_the_endpoints_own_headers_are_sent_and_masked_in_the_log() -> None:
    from common.sealing import seal

    with receiving() as receiver:
        endpoint_of(receiver, sealed_headers=seal(json.dumps({"X-Token": "sesame"})))
        say()
        dispatcher.run()

    assert receiver.got[0].headers["x-token"] == "sesame"
    logged = Attempt.objects.get().request_headers
    assert logged["X-Token"] == "••••"
    assert logged["webhook-id"] == receiver.got[0].id


def test_both_kinds_of_signatures_are_sent_and_old_keys_sign_too() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver, signatures=["v1", "v1a"])
        keys.rotate(endpoint)  # the receiver goes on with its old secret
        say()
        dispatcher.run()

    kinds = [each.partition(",")[0] for each in receiver.got[0].headers["webhook-signature"].split()]
    assert kinds == ["v1", "v1a", "v1", "v1a"]


def test_an_endpoint_whose_secrets_cannot_be_read_fails_and_no_other_does() -> None:
    with receiving() as receiver, receiving() as other:
        endpoint = endpoint_of(receiver)
        endpoint.secrets.update(sealed="nonsense")
        endpoint_of(other)
        say()
        dispatcher.run()

        assert (len(receiver.got), len(other.got)) == (0, 1)
    attempt = Attempt.objects.get(endpoint_id=endpoint.pk)
    assert (attempt.error, attempt.status) == ("unsendable", None)
    assert "WEBHOOK_SECRET_KEYS" in attempt.detail
    assert Delivery.objects.get(endpoint_id=endpoint.pk).state == "pending"


# --- trying again --------------------------------------------------------------------------------


def test_a_failure_is_tried_again_with_the_same_id_and_another_time() -> None:
    answers = iter([500, 302, 200])
    with receiving(lambda got: (next(answers), {"location": "http://127.0.0.1/"}, 0.0)) as receiver:
        endpoint_of(receiver)
        [said] = say()
        for delay in (5, 300):
            dispatcher.run()
            assert 0.8 * delay <= seconds_to_next() <= 1.2 * delay + 1
            make_due()
        dispatcher.run()

    assert receiver.ids == [said] * 3
    assert len({got.body for got in receiver.got}) == 1
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 3, 200)
    assert [attempt.number for attempt in Attempt.objects.order_by("id")] == [1, 2, 3]


def test_a_retry_is_made_when_its_time_has_come() -> None:
    answers = iter([500, 200])
    with receiving(lambda got: (next(answers), {}, 0.0)) as receiver, running():
        endpoint_of(receiver, retry_delays=[2])
        say()
        wait_until(lambda: len(receiver.got) == 2, "the retry")

    assert 1.5 <= receiver.got[1].at - receiver.got[0].at <= 2.4 + 1


def test_after_the_last_attempt_the_delivery_has_failed() -> None:
    with receiving(lambda got: (500, {}, 0.0)) as receiver:
        endpoint_of(receiver, retry_delays=[1])
        say()
        for _ in range(3):
            dispatcher.run()
            make_due()

        assert len(receiver.got) == 2
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_status, delivery.finished_at is not None) == ("failed", 500, True)


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_retry_after_is_honoured(kind: str) -> None:
    def busy(got: Got) -> Answer:
        when = format_datetime(datetime.now(UTC) + timedelta(seconds=900), usegmt=True)
        return 503, {"retry-after": "900" if kind == "seconds" else when}, 0.0

    with receiving(busy) as receiver:
        endpoint_of(receiver)
        say()
        dispatcher.run()

    assert 898 <= seconds_to_next() <= 902


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:9/hooks", "connect"),  # nobody listens at the port of `discard`
        ("http://no-such-host.invalid/hooks", "dns"),
        ("http://10.0.0.1/hooks", "refused"),
    ],
)
def test_what_does_not_even_connect_is_tried_again(url: str, error: str) -> None:
    endpoint = WebhookEndpoint.objects.create(url=url, event_types=["ping"])
    keys.issue_keys(endpoint)
    say()
    dispatcher.run()

    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_error, delivery.attempts) == ("pending", error, 1)
    assert Attempt.objects.get().detail


def test_a_receiver_that_does_not_answer_in_time_is_tried_again() -> None:
    with receiving(lambda got: (200, {}, 20.0)) as receiver:
        endpoint_of(receiver, timeout_seconds=1)
        say()
        dispatcher.run()

    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.last_error) == ("pending", "timeout")
    assert 900 <= Attempt.objects.get().total_ms <= 2500


def test_the_word_abort_message_ends_a_delivery() -> None:
    with receiving(lambda got: (500, {"webhook-delivery": "abort-message"}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver)
        say()
        dispatcher.run()

    assert Delivery.objects.get().state == "failed"
    endpoint.refresh_from_db()
    assert endpoint.enabled


# --- turned off ----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(410, {}, 0.0), (200, {"webhook-delivery": "disable"}, 0.0)])
def test_a_receiver_that_wants_no_more_is_turned_off_and_what_waits_is_kept(answer: Answer) -> None:
    with receiving(lambda got: answer) as receiver:
        endpoint = endpoint_of(receiver, concurrency=1)
        say(3)
        wait_until(lambda: dispatcher.run() == 0, "nothing is claimed any more")

        endpoint.refresh_from_db()
        assert (endpoint.enabled, bool(endpoint.disabled_reason)) == (False, True)
        assert len(receiver.got) < 3
        kept = Delivery.objects.filter(state="pending").count()
        assert kept >= 1

        receiver.answer = lambda got: (200, {}, 0.0)
        WebhookEndpoint.objects.update(enabled=True, disabled_at=None, disabled_reason="")
        deliveries.begin_anew(endpoint)
        dispatcher.run()
    assert Delivery.objects.filter(state="delivered").count() == 3


def test_an_endpoint_that_is_off_gets_nothing_and_loses_nothing() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver, enabled=False)
        said = say(5)
        assert dispatcher.run() == 0
        assert Delivery.objects.filter(state="pending", attempts=0).count() == 5

        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(enabled=True)
        dispatcher.run()
    assert sorted(receiver.ids) == sorted(said)


# --- the breaker ---------------------------------------------------------------------------------


def test_an_open_breaker_defers_without_spending_attempts_and_one_probe_closes_it() -> None:
    with receiving(lambda got: (500, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver, rate_per_second=1000, concurrency=25)
        say(60)
        dispatcher.run()

        tried = len(receiver.got)
        assert 20 <= tried < 60
        assert state_of(endpoint).open_until is not None
        assert Delivery.objects.filter(attempts=0).count() == 60 - tried
        assert dispatcher.run() == 0

        make_due()
        assert dispatcher.run() == 1, "one probe, which opens it again"
        assert state_of(endpoint).openings == 2

        receiver.answer = lambda got: (200, {}, 0.0)
        make_due()
        dispatcher.run()
        assert state_of(endpoint).open_until is None
    assert Delivery.objects.filter(state="delivered").count() == 60


# --- how fast, and who first ---------------------------------------------------------------------


def test_no_more_requests_are_open_than_the_endpoint_takes() -> None:
    with receiving(lambda got: (200, {}, 0.1)) as receiver:
        endpoint_of(receiver, concurrency=3, rate_per_second=1000)
        say(30)
        with running(2):
            wait_until(lambda: Delivery.objects.filter(state="delivered").count() == 30, "all are delivered")

    assert receiver.most_open == 3


def test_the_rate_is_held_by_four_dispatchers_together() -> None:
    with receiving() as receiver:
        endpoint_of(receiver, rate_per_second=100, concurrency=100)
        say(700)
        with running(4):
            wait_until(lambda: len(receiver.got) == 700, "all are delivered")

    times = sorted(got.at for got in receiver.got)
    begin = times[0] + 1.0
    within = [at for at in times if begin <= at < begin + 5]
    assert len(within) / 5 == pytest.approx(100, rel=0.05)
    assert len(set(receiver.ids)) == 700


def test_an_adaptive_rate_gives_way_to_a_receiver_that_is_too_busy() -> None:
    with receiving(lambda got: (429, {}, 0.0)) as receiver:
        endpoint = endpoint_of(receiver, rate_per_second=40, adaptive_rate=True)
        say(5)
        dispatcher.run()
        assert state_of(endpoint).rate == 20

        receiver.answer = lambda got: (200, {}, 0.0)
        make_due()
        dispatcher.run()
    assert 20 < (state_of(endpoint).rate or 0) < 21


def test_an_adaptive_rate_is_never_above_the_endpoints_own() -> None:
    with receiving() as receiver:
        endpoint = endpoint_of(receiver, rate_per_second=4, adaptive_rate=True)  # until just now it had 100
        say(50)
        EndpointState.objects.update_or_create(endpoint=endpoint, defaults={"rate": 80, "tokens": 20})

        assert len(claim_once()) == 1


def test_the_shortest_queue_does_not_wait_for_the_longest() -> None:
    with receiving() as many, receiving() as few:
        busy, quiet = endpoint_of(many, "ping", rate_per_second=1000), endpoint_of(few, "ping", rate_per_second=1000)
        say(200, endpoint_id=busy.pk)
        [said] = say(1, endpoint_id=quiet.pk)
        with running(places=4):
            wait_until(lambda: few.ids == [said], "the only one of its endpoint")
            assert len(many.got) < 100
            wait_until(lambda: len(many.got) == 200, "all of the other's")


def test_a_persons_edits_go_before_imports_and_first_tries_before_retries() -> None:
    with receiving() as receiver:
        endpoint_of(receiver, concurrency=1)
        imported, again, edited = say(1, lane=Lane.IMPORT), say(1), say(1)
        Delivery.objects.filter(event_id__in=[event_id(each) for each in again]).update(attempts=1)
        Delivery.objects.update(due_at=Now() - timedelta(minutes=1))
        dispatcher.run()

    assert receiver.ids == edited + again + imported


def claim_once() -> list[Claimed]:
    async def claim() -> list[Claimed]:
        async with await dispatcher.connect() as connection:
            await claims.take_back(connection)
            return await claims.claim(connection, 500)

    return asyncio.run(claim())


def test_retries_that_are_late_get_a_tenth_of_a_rate_that_first_tries_would_fill() -> None:
    with receiving() as receiver:
        endpoint_of(receiver, rate_per_second=400, concurrency=1000)
        again, first = say(30), say(300)
        Delivery.objects.filter(event_id__in=[event_id(each) for each in again]).update(
            attempts=1, due_at=Now() - timedelta(minutes=10)
        )
        EndpointState.objects.update_or_create(endpoint=WebhookEndpoint.objects.get(), defaults={"tokens": 100})
        claimed = claim_once()

    retries = sum(each.attempts > 0 for each in claimed)
    assert len(claimed) == 100 and len(first) > 100
    assert 10 <= retries <= 11


def test_retries_that_are_not_late_wait_for_all_first_tries() -> None:
    with receiving() as receiver:
        endpoint_of(receiver, rate_per_second=400, concurrency=1000)
        again = say(30)
        say(300)
        Delivery.objects.filter(event_id__in=[event_id(each) for each in again]).update(
            attempts=1, due_at=Now() - timedelta(minutes=1)
        )
        EndpointState.objects.update_or_create(endpoint=WebhookEndpoint.objects.get(), defaults={"tokens": 100})
        claimed = claim_once()

    assert len(claimed) == 100
    assert all(each.attempts == 0 for each in claimed)


def event_id(said: str) -> str:
    return said.removeprefix("evt_")


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    with receiving(lambda got: (200, {}, 30.0)) as hanging, receiving() as receiver:
        stuck = endpoint_of(hanging, timeout_seconds=15, concurrency=1000, rate_per_second=1000)
        fine = endpoint_of(receiver, rate_per_second=1000)
        say(100, endpoint_id=stuck.pk)
        with running(places=20):
            wait_until(lambda: len(hanging.got) >= 5, "the dispatcher is busy with the one that hangs")
            started = time.monotonic()
            say(50, endpoint_id=fine.pk)
            wait_until(lambda: len(receiver.got) == 50, "the others are delivered")
            assert time.monotonic() - started < 5
            assert hanging.open <= 14, "it may take part of the places, not all"
            hanging.answer = lambda got: (200, {}, 0.0)
            WebhookEndpoint.objects.filter(pk=stuck.pk).update(enabled=False)
            hanging.hang_up()


# --- one after the other -------------------------------------------------------------------------


def test_an_ordered_endpoint_gets_one_after_the_other_and_none_is_overtaken() -> None:
    failures = Counter[str]()

    def stumbling(got: Got) -> Answer:
        failures[got.id] += 1
        return (500 if got.data["number"] % 5 == 2 and failures[got.id] == 1 else 200), {}, 0.0

    with receiving(stumbling) as receiver, running(3):
        endpoint_of(receiver, ordered=True, retry_delays=[1, 1, 1])
        said = say(7)
        wait_until(lambda: Delivery.objects.filter(state="delivered").count() == 7, "all are delivered", 30)

    assert list(dict.fromkeys(receiver.ids)) == said
    assert receiver.most_open == 1
    assert [each for each, count in failures.items() if count == 2] == [said[2]]


# --- what may go wrong ---------------------------------------------------------------------------


def test_what_a_dead_dispatcher_had_in_hand_is_sent_again_with_the_same_id() -> None:
    with receiving() as receiver:
        endpoint_of(receiver)
        [said] = say()
        lose()
        assert dispatcher.run() == 1

    assert receiver.ids == [said]
    assert Delivery.objects.get().attempts == 1, "the lost one was not counted"


def lose() -> None:
    """As if a dispatcher had claimed everything and then died, a while ago."""
    Delivery.objects.update(claim=F("id"), claimed_until=Now() - timedelta(seconds=1))


def test_a_claim_that_was_given_up_for_lost_writes_nothing() -> None:
    with receiving(lambda got: (500, {}, 1.0)) as receiver:
        endpoint_of(receiver)
        say()
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        wait_until(lambda: receiver.open == 1, "it is on its way")
        other = "019ac000-0000-7000-8000-000000000000"
        Delivery.objects.update(claim=other)
        thread.join()

    delivery = Delivery.objects.get()
    assert (str(delivery.claim), delivery.attempts, delivery.state) == (other, 0, "pending")
    assert not Attempt.objects.exists()


def test_what_is_claimed_is_not_claimed_by_another() -> None:
    with receiving(lambda got: (200, {}, 0.05)) as receiver:
        endpoint_of(receiver, rate_per_second=1000, concurrency=100)
        said = say(300)
        with running(4):
            wait_until(lambda: Delivery.objects.filter(state="delivered").count() == 300, "all are delivered")

    assert Counter(receiver.ids) == Counter(said)


def test_a_worker_that_is_to_stop_claims_no_more_and_waits_for_what_is_on_its_way() -> None:
    stop = threading.Event()
    with receiving(lambda got: (200, {}, 0.5)) as receiver:
        endpoint_of(receiver, concurrency=2)
        say(10)
        thread = threading.Thread(target=lambda: asyncio.run(Dispatcher(is_to_stop=stop.is_set).run()))
        thread.start()
        wait_until(lambda: receiver.open == 2, "two are on their way")
        stop.set()
        thread.join()

    assert Delivery.objects.filter(state="delivered").count() == len(receiver.got) < 10
    assert not Delivery.objects.exclude(claim=None).exists()


def test_after_a_while_a_dispatcher_hands_over_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "RUN_SECONDS", 0.5)
    with receiving() as receiver:
        endpoint_of(receiver, rate_per_second=30)
        say(90)

        assert 0 < dispatcher.run() < 90
        assert not Delivery.objects.exclude(claim=None).exists()
        wait_until(lambda: dispatcher.run() == 0, "the next ones do the rest")
    assert len(receiver.got) == len(set(receiver.ids)) == 90


def test_only_one_hands_over_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "RUN_SECONDS", 0.5)
    with receiving() as receiver, connection.cursor() as cursor:
        endpoint_of(receiver, rate_per_second=30)
        say(60)
        cursor.execute("SELECT pg_advisory_lock(%s)", [dispatcher.HANDING_OVER])
        try:
            assert dispatcher.run() == 60
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [dispatcher.HANDING_OVER])


def test_a_database_that_goes_away_ends_the_dispatcher_and_the_next_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(lambda got: (200, {}, 1.0)) as receiver:
        endpoint_of(receiver)
        [said] = say()
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        wait_until(lambda: receiver.open == 1, "it is on its way")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        thread.join()
        assert "webhook_dispatcher_ended" in caplog.text
        Delivery.objects.update(claimed_until=Now() - timedelta(seconds=1))

        wait_until(lambda: dispatcher.run() == 1, "the next dispatcher goes on")
    assert set(receiver.ids) == {said}
    assert Delivery.objects.get().state == "delivered"


def test_so_does_a_database_that_goes_away_while_keys_are_read(caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, connection.cursor() as cursor:
        endpoint_of(receiver)
        [said] = say()
        thread = threading.Thread(target=dispatcher.run)
        with transaction.atomic():
            cursor.execute("LOCK TABLE webhooks_endpointsecret IN ACCESS EXCLUSIVE MODE")
            thread.start()
            wait_until(lambda: end_those_that_wait_for_me(cursor), "the keys are being read")
            thread.join()
        assert "webhook_dispatcher_ended" in caplog.text
        Delivery.objects.update(claimed_until=Now() - timedelta(seconds=1))

        assert dispatcher.run() == 1
    assert receiver.ids == [said]


def end_those_that_wait_for_me(cursor: CursorWrapper) -> bool:
    # Not of pg_stat_activity, which a transaction reads only once.
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation IN "
        "(SELECT relation FROM pg_locks WHERE granted AND pid = pg_backend_pid() AND mode = 'AccessExclusiveLock')"
    )
    return bool(cursor.fetchall())


def test_an_endpoint_that_is_removed_under_way_harms_nobody() -> None:
    with receiving(lambda got: (200, {}, 0.5)) as receiver, receiving() as other:
        removed = endpoint_of(receiver)
        endpoint_of(other)
        say(3)
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        wait_until(lambda: receiver.open == 3, "they are on their way")
        deliveries.discard(removed)
        removed.delete()
        thread.join()

    assert Counter(Delivery.objects.values_list("state", flat=True)) == {"discarded": 3, "delivered": 3}
    assert dispatcher.run() == 0


def test_redelivered_ones_say_so() -> None:
    with receiving() as receiver:
        endpoint_of(receiver)
        say()
        dispatcher.run()
        deliveries.redeliver(Delivery.objects.get())
        dispatcher.run()

    assert [attempt.trigger for attempt in Attempt.objects.order_by("id")] == [Trigger.SCHEDULE, Trigger.REDELIVERY]
    assert len(set(receiver.ids)) == 1
