"""Events while dispatchers are killed and the queue is emptied: none is lost, none is sent twice without need."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
from django.conf import settings

from common.tests.waiting import wait_until
from odata.tests.running import manage
from tests.acceptance.service import Service
from webhooks.models import message_id
from webhooks.tests.receivers import Receiver

LISTEN = """
import json, sys
from webhooks import keys
from webhooks.models import WebhookEndpoint
endpoint = WebhookEndpoint.objects.create(
    url={url!r}, event_types=["ping"], rate_per_second=1000, concurrency=100, timeout_seconds={seconds}
)
print(json.dumps([str(endpoint.pk), keys.issue_keys(endpoint)[0].text]))
"""
SAY = """
import random, time
from django.db import transaction
from webhooks import outbox
left, chance = {events}, random.Random({seed})
while left:
    number = min(left, chance.randint(1, {most}))
    with transaction.atomic():
        for _ in range(number):
            outbox.publish("ping", {{"number": left}})
            left -= 1
    time.sleep(number / {per_second})
"""


@dataclass
class Endured:
    """What came of it."""

    said: Counter[str] = field(default_factory=Counter)
    came: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    flushes: int = 0
    in_hand: int = 0
    """Requests that may have been on their way when a dispatcher was killed, all kills together."""

    @property
    def lost(self) -> int:
        return len(self.said.keys() - self.came.keys())

    @property
    def duplicates(self) -> int:
        return self.came.total() - len(self.came)


def endure(
    service: Service,
    receiver: Receiver,
    *,
    events: int,
    kills: int,
    flushes: int,
    per_second: int,
    seed: int,
    seconds: float,
) -> Endured:
    """Have so many events said, and in the meantime so many dispatchers killed and the queue emptied so often, in any
    order; then wait until all is delivered, for at most `seconds`."""
    chance, endured = random.Random(seed), Endured(kills=kills, flushes=flushes)
    listen(service, receiver)
    script = SAY.format(events=events, seed=seed, per_second=per_second, most=max(1, events // 100))
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "shell", "-v", "0", "-c", script]
    saying = subprocess.Popen(command, env={**os.environ, **service.env})
    faults = ["kill"] * kills + ["flush"] * flushes
    chance.shuffle(faults)
    for fault in faults:
        wait_for_more(receiver, chance.randint(1, max(1, events // (len(faults) + 1))), service)
        if fault == "flush":
            service.empty_valkey()
        else:
            endured.in_hand += kill(service)
    assert saying.wait(seconds) == 0
    wait_until(lambda: nothing_waits(service), "all is delivered", seconds)
    endured.said = Counter(message_id(row["id"]) for row in service.query("SELECT id FROM webhooks_event"))
    endured.came = Counter(receiver.ids)
    return endured


def listen(service: Service, receiver: Receiver, timeout_seconds: int = 1) -> None:
    """Have the receiver told of pings; it may take so long for each."""
    script = LISTEN.format(url=receiver.url, seconds=timeout_seconds)
    _, receiver.secret = json.loads(run(service, script).splitlines()[-1])


def run(service: Service, script: str) -> str:
    done = manage("shell", "-v", "0", "-c", script, env={**os.environ, **service.env})
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@contextmanager
def running(service: Service, script: str) -> Iterator[None]:
    """The same, beside what the block does: on a busy machine the command takes its time to end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run, service, script)
        yield
        done.result()


def wait_for_more(receiver: Receiver, number: int, service: Service) -> None:
    """Until so many more have come, or there are no more."""
    wanted = len(receiver.got) + number
    wait_until(lambda: len(receiver.got) >= wanted or nothing_waits(service), f"{number} more are delivered")


def kill(service: Service) -> int:
    """SIGKILL for the worker of the dispatchers and its children, and another takes its place; returns how many
    deliveries they had in hand."""
    service.kill("webhooks")
    claimed = service.query("SELECT count(*) AS number FROM webhooks_delivery_pending WHERE claim IS NOT NULL")
    service.start("webhooks")
    return int(claimed[0]["number"])


def nothing_waits(service: Service) -> bool:
    with suppress(psycopg.OperationalError):
        waiting = service.query(
            "SELECT EXISTS (SELECT FROM webhooks_delivery_pending AS delivery "
            "JOIN webhooks_webhookendpoint AS endpoint ON endpoint.id = endpoint_id WHERE enabled) AS any"
        )
        return not waiting[0]["any"]
    return False
