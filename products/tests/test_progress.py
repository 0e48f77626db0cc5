"""The document of an import, and its way over the channel layer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis import Redis

from accounts.models import User
from common.tests.waiting import wait_until
from products import progress
from products.importing import lease
from products.models import Import
from products.tests.importing.imports import received

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def running(**overrides: Any) -> Import:
    """An import that has read a quarter of its file in ten seconds."""
    fields: dict[str, Any] = {
        "state": "PROGRESS",
        "phase": "staging",
        "version": 7,
        "percent": 25.04,
        "file_name": "shoes.csv",
        "bytes_read": 100,
        "bytes_total": 400,
        "rows_read": 5000,
        "attempt": 1,
        "created_at": NOON - timedelta(seconds=12),
        "started_at": NOON - timedelta(seconds=10),
        "heartbeat_at": NOON - timedelta(seconds=1),
    }
    return Import(**fields | overrides)


def test_it_tells_how_fast_a_running_import_is_and_how_long_it_will_take() -> None:
    import_ = running(created_by=User(username="alice"))

    document = progress.document(import_, now=NOON)

    assert document["id"] == document["task_id"] == str(import_.pk)
    assert document["rows_per_second"] == 500
    assert document["eta_seconds"] == 30
    assert document["percent"] == 25.0
    assert document["created_by"] == "alice"
    assert document["created_at"] == "2026-01-05T11:59:48+00:00"
    assert not document["stalled"]
    assert document["error"] is None


def test_it_is_json() -> None:
    document = progress.document(running(ignored_columns=["Farbe"]), now=NOON)

    assert json.loads(json.dumps(document)) == document


def test_it_knows_neither_speed_nor_end_of_an_import_that_waits() -> None:
    import_ = running(state="PENDING", phase="queued", started_at=None, heartbeat_at=None, percent=0, rows_read=0)

    document = progress.document(import_, now=NOON)

    assert document["rows_per_second"] == 0
    assert document["eta_seconds"] is None
    assert not document["stalled"]


def test_it_keeps_the_speed_of_a_finished_import() -> None:
    import_ = running(state="SUCCESS", phase="finished", percent=100, finished_at=NOON - timedelta(seconds=5))

    document = progress.document(import_, now=NOON)

    assert document["rows_per_second"] == 1000
    assert document["eta_seconds"] is None


@pytest.mark.parametrize(
    ("silent_for", "state", "stalled"),
    [(9, "PROGRESS", False), (11, "PROGRESS", True), (11, "PENDING", False), (3600, "SUCCESS", False)],
)
def test_it_calls_a_running_import_stalled_after_ten_seconds_of_silence(
    silent_for: int, state: str, stalled: bool
) -> None:
    import_ = running(state=state, heartbeat_at=NOON - timedelta(seconds=silent_for))

    assert progress.document(import_, now=NOON)["stalled"] is stalled


def test_it_tells_why_an_import_failed() -> None:
    import_ = running(state="FAILURE", error_code="empty_file", error_message="The file is empty.")

    assert progress.document(import_, now=NOON)["error"] == {"code": "empty_file", "message": "The file is empty."}


@pytest.mark.parametrize(
    ("state", "percent", "status", "said"),
    [
        ("PENDING", 0, "PENDING", 0),
        ("PROGRESS", 33.9, "PROGRESS", 33),
        ("PROGRESS", 100, "PROGRESS", 99),
        ("SUCCESS", 99.7, "SUCCESS", 100),
        ("FAILURE", 41, "FAILURE", 41),
        ("CANCELLED", 100, "FAILURE", 99),
    ],
)
def test_it_says_the_same_in_a_tasks_words(state: str, percent: float, status: str, said: int) -> None:
    document = progress.document(running(state=state, percent=percent), now=NOON)

    task = progress.task_status(document)

    assert (task["status"], task["progress"]) == (status, said)
    assert {key: task[key] for key in document} == document  # type: ignore[literal-required]


async def test_a_published_snapshot_reaches_the_group_of_its_import() -> None:
    import_ = running()
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(progress.group_name(import_.pk), channel)

    await asyncio.to_thread(progress.publish, import_)

    async with asyncio.timeout(5):
        message = await layer.receive(channel)
    assert message["type"] == "import.snapshot"
    assert message["document"]["id"] == str(import_.pk)
    assert message["document"]["version"] == 7


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_is_told_nobody(file_store: Path) -> None:
    import_, other = received("sku,name\nA,Lamp\n"), received("sku,name\nB,Chair\n")
    layer = get_channel_layer()

    async def channel_of_both() -> str:
        channel: str = await layer.new_channel()
        for each in (import_, other):
            await layer.group_add(progress.group_name(each.pk), channel)
        return channel

    channel = async_to_sync(channel_of_both)()
    with pytest.raises(InterruptedError), transaction.atomic():
        lease.request_cancel(import_)
        raise InterruptedError
    with transaction.atomic():
        lease.request_cancel(other)
    heard = async_to_sync(layer.receive)(channel)["document"]

    assert (heard["id"], heard["state"]) == (str(other.pk), "CANCELLED")


async def test_of_many_snapshots_the_last_one_always_arrives() -> None:
    import_ = running()
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(progress.group_name(import_.pk), channel)

    for version in range(1, 51):
        import_.version = version
        progress.publish(import_)

    heard: list[int] = []
    async with asyncio.timeout(5):
        while not heard or heard[-1] != 50:
            heard.append((await layer.receive(channel))["document"]["version"])
    assert heard == sorted(heard)


def test_publishing_neither_raises_nor_waits_while_the_layer_is_down(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nobody_listens = {"address": "redis://127.0.0.1:1/0"}
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [nobody_listens]}}
    }
    caplog.set_level(logging.WARNING, "products.progress")

    began = time.monotonic()
    for _ in range(20):
        progress.publish(running())
    took = time.monotonic() - began
    wait_until(lambda: bool(caplog.records))

    assert took < 1
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["progress_not_sent"]


def test_publishing_keeps_one_connection_and_no_snapshot(settings: Any) -> None:
    valkey = Redis.from_url(settings.REDIS_URL)
    progress.publish(running())
    wait_until_sent()
    before = valkey.info("clients")["connected_clients"]

    for version in range(200):
        progress.publish(running(version=version))
    wait_until_sent()

    # Others use this server too: a connection for each message would be far more than these.
    assert valkey.info("clients")["connected_clients"] <= before + 20
    assert progress._sender()._waiting == {}
    valkey.close()


def test_a_forked_child_publishes_too() -> None:
    progress.publish(running())
    wait_until_sent()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        exit_code = 1
        try:
            progress.publish(running())
            wait_until_sent()
            exit_code = 0
        finally:
            os._exit(exit_code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def wait_until_sent() -> None:
    sender = progress._sender()
    wait_until(lambda: not sender._waiting and not sender._sending)
