"""Is it alive, is it ready: what load balancers, health checks and people ask.

`/livez` asks nobody. `/readyz` asks every server that this one stands on, each with a deadline. Only
what no request can do without makes it 503: the database, and its migrations. Without the queue,
without a worker or on a full disk reads still work and uploads are kept or refused in words, so
these are told as `degraded` with 200: a load balancer that took all web processes away because the
workers are gone would make it worse.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import psycopg
import redis
import structlog
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.explain import Problem
from common.middleware import forget_unknown_user
from common.problems import problem_response
from common.stopping import stopping
from odata.postgresql.answering import DEADLINE as DATABASE_DEADLINE
from odata.postgresql.answering import own_connection

log = structlog.get_logger(__name__)

OK, DEGRADED, FAILED = "ok", "degraded", "failed"

HEARTBEAT_KEY = "odata:worker-heartbeat"
HEARTBEAT_OLD = 35
"""Seconds: three beats of the schedule, and a little."""
VALKEY_DEADLINE = 1
DISK_LOW = 1_000_000_000
"""Bytes: below, a product file of the size that is promised no longer fits beside its rows."""


class Check(NamedTuple):
    """How one thing is. `detail` is read by anybody: no addresses, no names of servers."""

    state: str
    detail: str


# --- the checks --------------------------------------------------------------------------------


def check_database() -> dict[str, Check]:
    """Whether PostgreSQL answers, and has the tables that this code expects."""
    try:
        missing = sorted(known_migrations() - applied_migrations())
    except psycopg.errors.UndefinedTable:
        return {"database": ANSWERS, "migrations": Check(FAILED, "The database is empty: run manage.py migrate.")}
    except psycopg.Error as error:
        log.warning("not_ready", check="database", error=str(error).strip())
        silent = Check(FAILED, f"PostgreSQL does not answer within {DATABASE_DEADLINE} s.")
        return {"database": silent, "migrations": Check(FAILED, "Not known while PostgreSQL does not answer.")}
    if missing:
        sentence = f"{len(missing)} not applied, such as {'.'.join(missing[0])}: run manage.py migrate."
        return {"database": ANSWERS, "migrations": Check(FAILED, sentence)}
    return {"database": ANSWERS, "migrations": Check(OK, "All are applied.")}


ANSWERS = Check(OK, "PostgreSQL answers.")


def applied_migrations() -> set[tuple[str, str]]:
    """The migrations that the database has, as (app, name).

    Raises psycopg.Error.
    """
    with own_connection() as database:
        return set(database.execute("SELECT app, name FROM django_migrations").fetchall())


@cache
def known_migrations() -> frozenset[tuple[str, str]]:
    """The migrations that this code comes with."""
    return frozenset(MigrationLoader(None).disk_migrations or {})


def check_valkey() -> dict[str, Check]:
    """Whether the queue answers, and a worker has worked lately."""
    try:
        with valkey() as client:
            beat = client.get(HEARTBEAT_KEY)
    except redis.RedisError as error:
        log.warning("not_ready", check="valkey", error=str(error))
        silent = Check(DEGRADED, "Valkey does not answer: imports wait, progress is seen by polling alone.")
        return {"valkey": silent, "worker": Check(DEGRADED, "Not known while Valkey does not answer.")}
    return {"valkey": Check(OK, "Valkey answers."), "worker": worker_state(beat)}


def worker_state(beat: bytes | None) -> Check:
    """What the time of the last heartbeat says of the workers."""
    if beat is None:
        return Check(DEGRADED, "No worker has reported yet: imports wait until one does.")
    age = max(0, int(time.time() - float(beat)))
    if age > HEARTBEAT_OLD:
        return Check(DEGRADED, f"No worker has reported for {age} s: imports wait until one does.")
    return Check(OK, f"A worker reported {age} s ago.")


def check_disk() -> dict[str, Check]:
    """Whether there is room for more files."""
    try:
        free = shutil.disk_usage(settings.ODATA_HOME).free
    except OSError as error:
        log.warning("not_ready", check="disk", error=str(error))
        return {"disk": Check(DEGRADED, "The data folder can't be looked at.")}
    sentence = f"{free / 1e9:.1f} GB are free."
    return {"disk": Check(DEGRADED if free < DISK_LOW else OK, sentence)}


CHECKS: tuple[Callable[[], dict[str, Check]], ...] = (check_database, check_valkey, check_disk)


def check_all() -> dict[str, Check]:
    """All checks, made side by side: their deadlines don't add up.

    Anybody may ask, and each look takes a connection to the database: so one look at a time, which does for all who
    asked before it began.
    """
    global _last_look
    asked = time.monotonic()
    with _looking:
        began, found = _last_look
        if began < asked:
            began = time.monotonic()
            with ThreadPoolExecutor(len(CHECKS)) as threads:
                looks = [threads.submit(check) for check in CHECKS]
                found = {name: check for each in looks for name, check in each.result().items()}
            _last_look = began, found
        return found


_looking = threading.Lock()
_last_look: tuple[float, dict[str, Check]] = (0.0, {})
"""When it began, by the monotonic clock, and what was found."""


# --- the worker's sign of life -----------------------------------------------------------------


def record_heartbeat() -> None:
    """Say that a worker is working."""
    with valkey() as client:
        client.set(HEARTBEAT_KEY, time.time())


def valkey() -> redis.Redis:
    """A client that gives up after VALKEY_DEADLINE rather than trying again."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=VALKEY_DEADLINE,
        socket_timeout=VALKEY_DEADLINE,
        retry=Retry(NoBackoff(), 0),
    )


# --- the answers -------------------------------------------------------------------------------


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers at all."""
    forget_unknown_user(request)
    return JsonResponse({"status": OK})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """200 if requests can be served, with what is degraded; 503 if not, or if this server is about to stop."""
    forget_unknown_user(request)
    if stopping():
        sentence = "This server is about to stop: send requests to another one."
        return problem_response(request, Problem(503, "draining", "Draining", sentence, (), {"Retry-After": "5"}))
    found = check_all()
    checks = {name: check._asdict() for name, check in found.items()}
    states = {check.state for check in found.values()}
    if FAILED in states:
        problem = Problem(
            status=503,
            code="not_ready",
            title="Not ready",
            detail=" ".join(check.detail for check in found.values() if check.state == FAILED),
            headers={"Retry-After": "5"},
            extensions={"checks": checks},
        )
        return problem_response(request, problem)
    return JsonResponse({"status": DEGRADED if DEGRADED in states else OK, "checks": checks})
