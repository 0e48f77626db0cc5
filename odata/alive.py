"""Signs of life of the processes that answer no request, and how the schedule's tasks ended; for `manage.py doctor`.

Both are kept in Valkey: they are worth nothing when they are old, and whoever writes them must not stop
for want of a place to write to.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import threading
import time
from typing import Any, NamedTuple

import redis
from django.conf import settings

from odata.health import valkey

logger = logging.getLogger(__name__)

EVERY = 10
"""Seconds between two signs of a process."""
FORGOTTEN = 35
"""Seconds after which a process that says nothing is held for dead: three signs, and a little."""
PROCESSES = "odata:process:"
ENDS = "odata:task-ends"


class Process(NamedTuple):
    """One that has given a sign lately. `role` is its ODATA_PROCESS; times are Unix time."""

    role: str
    host: str
    started_at: float
    seen_at: float = math.inf
    """When it gave the sign. One of an earlier version does not say."""


class Ends(NamedTuple):
    """When a task last ended well and badly, in Unix time; 0: never. `error` is the kind of the last error."""

    good_at: float = 0
    bad_at: float = 0
    error: str = ""


def keep_saying_so(role: str) -> None:
    """Give signs from now on, in a thread of its own, until this process ends."""
    threading.Thread(target=_say, args=(role, time.time()), name="signs-of-life", daemon=True).start()


def _say(role: str, started_at: float) -> None:
    host = socket.gethostname()
    key = f"{PROCESSES}{role}:{host}:{os.getpid()}"
    while True:
        text = json.dumps({"role": role, "host": host, "started_at": started_at, "seen_at": time.time()})
        try:
            with valkey() as client:
                client.set(key, text, ex=FORGOTTEN)
        except redis.RedisError as error:
            logger.debug("no_sign_of_life: %s", error)
        time.sleep(EVERY)


def processes() -> list[Process]:
    """Those that have given a sign lately. Raises redis.RedisError."""
    with valkey() as client:
        texts = [client.get(key) for key in client.scan_iter(f"{PROCESSES}*")]
    return sorted(Process(**json.loads(text)) for text in texts if text)


def side_by_side(those: list[Process]) -> list[Process]:
    """Without the ones that have given no sign since the newest was started: it came in their place."""
    newest = max((process.started_at for process in those), default=0)
    return [process for process in those if process.seen_at >= newest]


def note_end(task: str, *, error: str = "") -> None:
    """Note how a task of the schedule ended. `error` is the kind of the exception alone: its words may hold secrets."""
    if task not in {each["task"] for each in settings.CELERY_BEAT_SCHEDULE.values()}:
        return
    entry = {f"{task}|bad": json.dumps([time.time(), error])} if error else {f"{task}|good": json.dumps([time.time()])}
    try:
        with valkey() as client:
            client.hset(ENDS, mapping=entry)
    except redis.RedisError as problem:
        logger.debug("end_not_noted: %s", problem)


def ends() -> dict[str, Ends]:
    """How each task last ended. Raises redis.RedisError."""
    with valkey() as client:
        noted: dict[bytes, bytes] = client.hgetall(ENDS)
    found: dict[str, dict[str, Any]] = {}
    for key, text in noted.items():
        task, _, kind = key.decode().partition("|")
        at, *error = json.loads(text)
        found.setdefault(task, {})[f"{kind}_at"] = at
        if error:
            found[task]["error"] = error[0]
    return {task: Ends(**fields) for task, fields in found.items()}
