"""What runs: processes, the schedule, the live server, and whether work gets done."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.utils import timezone

from common.ids import first_uuid7
from common.sealing import UnreadableSecretError, unseal
from odata import alive, health
from odata.addresses import local_host
from odata.doctor.finding import Finding, error, ok, warning
from odata.postgresql.answering import own_connection

NEEDED = {
    "worker-imports": "imports wait",
    "worker-default": "nothing is swept, and no check or upload expires",
    "worker-webhooks": "webhooks wait",
    "beat": "nothing is swept, and retries of webhooks wait",
}
"""The processes that answer no request, and what it means that none runs."""
START = "Start it: manage.py up runs all of them, docker compose up does, and odata/processes.py has each command."
LIVE_SECONDS = 3
QUEUE_LONG = 1000
WAITS_LONG = 5 * 60
"""Seconds after which something that could go on should have."""
FAILED_PART = 0.5
IMPORTS = """
    SELECT count(*) FILTER (WHERE state = 'PENDING' AND phase <> 'checked'),
           max(extract(epoch FROM now() - coalesce(apply_requested_at, created_at)))
               FILTER (WHERE state = 'PENDING' AND phase <> 'checked'),
           count(*) FILTER (WHERE state = 'PROGRESS'),
           count(*) FILTER (WHERE state = 'PROGRESS' AND lease_expires_at < now() - interval '1 minute'),
           count(*) FILTER (WHERE phase = 'checked')
      FROM products_import WHERE state IN ('PENDING', 'PROGRESS')
"""
"""Answered from the index `import_unfinished`: waiting, for how long the oldest, running, lost, to be decided on."""
DAY = """
    SELECT count(*), count(*) FILTER (WHERE state = 'FAILURE') FROM products_import
     WHERE id >= %s AND state IN ('SUCCESS', 'FAILURE')
"""
BACKLOG = """
    SELECT count(*), coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8
      FROM webhooks_delivery_pending AS delivery
      JOIN webhooks_webhookendpoint AS endpoint ON endpoint.id = endpoint_id AND endpoint.enabled
      LEFT JOIN webhooks_endpointstate AS state USING (endpoint_id)
     WHERE state.open_until IS NULL AND due_at <= now()
"""
"""Deliveries that are due, to endpoints that are on and have not failed, and how late the oldest is."""
SECRETS = "SELECT sealed FROM webhooks_endpointsecret WHERE expires_at IS NULL ORDER BY id DESC LIMIT 1000"
SECOND_FACTORS = "SELECT sealed_key FROM accounts_authenticator ORDER BY id DESC LIMIT 1000"
NEWEST_SESSION = "SELECT session_data FROM django_session WHERE expire_date > now() ORDER BY expire_date DESC LIMIT 1"
TROUBLE = """
    SELECT count(*) FILTER (WHERE endpoint.enabled),
           count(*) FILTER (WHERE endpoint.enabled AND state.open_until IS NOT NULL),
           count(*) FILTER (WHERE NOT endpoint.enabled)
      FROM webhooks_webhookendpoint AS endpoint
      LEFT JOIN webhooks_endpointstate AS state ON state.endpoint_id = endpoint.id
"""


# --- processes ---------------------------------------------------------------------------------


def processes() -> Iterator[Finding]:
    """Which workers and beats have given a sign of life lately."""
    running = alive.processes()
    for role, without in NEEDED.items():
        those = [process for process in running if process.role == role]
        if role == "beat":
            those = alive.side_by_side(those)
        hosts = ", ".join(sorted({process.host for process in those}))
        if not those:
            yield error(role, f"No {role} runs: {without}.", START)
        elif role == "beat" and len(those) > 1:
            sentence = f"{len(those)} beats run ({hosts}): everything of the schedule is done twice."
            yield warning(role, sentence, "Stop all but one.")
        else:
            yield ok(role, f"{role}: {len(those)} on {hosts}.")


def schedule() -> Iterator[Finding]:
    """Whether beat, the queue and a worker work together, and whether what they do comes to a good end."""
    with health.valkey() as client:
        worker = health.worker_state(client.get(health.HEARTBEAT_KEY))
    beats = [process.started_at for process in alive.processes() if process.role == "beat"]
    if worker.state == health.OK:
        yield ok("heartbeat", f"Beat, queue and worker work together. {worker.detail}")
    elif beats and time.time() - max(beats) < health.HEARTBEAT_OLD:
        yield ok("heartbeat", "Beat was started just now; whether its tasks are done is seen in half a minute.")
    else:
        yield error("heartbeat", worker.detail, START)
    ends, bad = alive.ends(), False
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        task = entry["task"]
        end = ends.get(task, alive.Ends())
        if end.bad_at > end.good_at:
            bad = True
            sentence = f"{task} failed {_ago(end.bad_at)} ({end.error}) and has not ended well since."
            yield error(f"task.{task}", sentence, "The log of worker-default has the reason at that time.")
    if not bad:
        yield ok("schedule", "No task of the schedule failed the last time that it ran.")


def live() -> Iterator[Finding]:
    """Whether the live server is where browsers look for it. One that answers a handshake at all is there."""
    url = settings.LIVE_URL.rstrip("/")
    if url == "same-origin":
        if not settings.SITE_URL:  # the proxy joins the two, and nobody says where that is
            yield ok("live", "Whether the proxy passes sockets on to the live server is looked at if SITE_URL is set.")
            return
        url = settings.SITE_URL.rstrip("/").replace("http", "ws", 1)
    url = url or f"ws://{local_host()}:{settings.LIVE_PORT}"
    try:
        status = _handshake(url)
    except (OSError, http.client.HTTPException) as problem:
        reason = getattr(problem, "strerror", None) or type(problem).__name__
        sentence = f"The live server does not answer at {url} ({reason}): pages poll instead."
        yield warning(
            "live", sentence, "Start it, or correct LIVE_URL, SITE_URL or LIVE_PORT. A proxy must pass it on."
        )
        return
    if status in (101, 403):
        yield ok("live", f"The live server answers at {url}.")
    else:
        sentence = f"At {url} something else than the live server answers (status {status}): pages poll instead."
        yield warning("live", sentence, "Have the proxy pass /ws/ on to the live server, as deploy/Caddyfile does.")


def _handshake(url: str) -> int:
    """The status that a request for a socket (RFC 6455, section 4.1) is answered with. Raises OSError and others."""
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        asked: Any = http.client.HTTPSConnection(host, parts.port, timeout=LIVE_SECONDS, context=context)
    else:
        asked = http.client.HTTPConnection(host, parts.port, timeout=LIVE_SECONDS)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    try:
        asked.request("GET", "/ws/imports/doctor/", headers=headers)
        return int(asked.getresponse().status)
    finally:
        asked.close()


# --- work --------------------------------------------------------------------------------------


def queues() -> Iterator[Finding]:
    """Messages that no worker has taken."""
    url = settings.ENV["CELERY_BROKER_URL"] or settings.REDIS_URL
    with redis.Redis.from_url(
        url, socket_connect_timeout=health.VALKEY_DEADLINE, socket_timeout=health.VALKEY_DEADLINE
    ) as client:
        lengths = {queue.name: int(client.llen(queue.name)) for queue in settings.CELERY_TASK_QUEUES}
    sentence = "Messages that wait: " + ", ".join(f"{name} {length:,}" for name, length in lengths.items()) + "."
    if max(lengths.values()) > QUEUE_LONG:
        yield warning("queues", sentence, "The workers don't keep up, or none runs: see Processes; add workers.")
    else:
        yield ok("queues", sentence)


def imports() -> Iterator[Finding]:
    """Imports that should go on and don't."""
    with own_connection() as database:
        waiting, oldest, running, lost, checked = database.execute(IMPORTS).fetchone() or (0, None, 0, 0, 0)
        ended, failed = database.execute(DAY, [first_uuid7(timezone.now() - timedelta(days=1))]).fetchone() or (0, 0)
    sentence = f"{waiting} imports wait, {running} run, {checked} wait for a decision."
    if oldest and oldest > WAITS_LONG and not running:
        sentence += f" The oldest has waited for {_span(float(oldest))}, and none runs."
        yield error("imports", sentence, "See Processes: worker-imports must run, and worker-default with beat sweep.")
    elif oldest and oldest > 4 * WAITS_LONG:
        sentence += f" The oldest has waited for {_span(float(oldest))}."
        yield warning("imports", sentence, "Add workers of the queue `imports`, here or on another machine.")
    else:
        yield ok("imports", sentence)
    if lost:
        sentence = f"{lost} imports have lost their worker, and no sweep has taken them up."
        yield error("lost_imports", sentence, "See Processes: worker-default and beat must run.")
    if failed and failed >= FAILED_PART * ended:
        sentence = f"{failed} of the {ended} imports of the last day failed."
        yield warning("failed_imports", sentence, "Each says why on its page; see the list of imports in the admin.")


def webhooks() -> Iterator[Finding]:
    """Deliveries that are late though their receiver works, and receivers that don't."""
    with own_connection() as database:
        due, late = database.execute(BACKLOG).fetchone() or (0, 0)
        on, open_, off = database.execute(TROUBLE).fetchone() or (0, 0, 0)
    if late > WAITS_LONG:
        sentence = f"{due:,} webhook deliveries are due, the oldest for {_span(late)}."
        remedy = "worker-webhooks must run; add more of them, or raise the endpoint's rate and concurrency."
        yield warning("webhook_backlog", sentence, remedy)
    else:
        yield ok("webhook_backlog", f"{due:,} webhook deliveries are due, to {on} endpoints that are on.")
    if open_:
        sentence = f"{open_} webhook endpoints don't answer; their events wait."
        yield warning("webhook_endpoints", sentence, "See them in the admin, under Webhook endpoints.")
    if off:
        yield ok("webhooks_off", f"{off} webhook endpoints are off.")


def webhook_secrets() -> Iterator[Finding]:
    """Whether the keys are those that the database was written with, as they are not after a restore without them."""
    without = "their webhooks can't be signed", "give these endpoints new secrets"
    return _sealed("webhook_secrets", SECRETS, *without)


def second_factors() -> Iterator[Finding]:
    """The same of second factors: who has one that can't be read can't log in."""
    without = "their codes are refused", "have these people set up new ones: manage.py reset_second_factor NAME"
    return _sealed("second_factors", SECOND_FACTORS, *without)


def _sealed(what: str, statement: str, then: str, instead: str) -> Iterator[Finding]:
    """Whether what these rows hold can be decrypted; what follows if not, and what else could be done."""
    things = what.replace("_", " ")
    with own_connection() as database:
        sealed = [text for (text,) in database.execute(statement).fetchall()]
    unreadable = sum(not _can_be_read(text) for text in sealed)
    if unreadable:
        yield error(
            what,
            f"{unreadable:,} of {len(sealed):,} {things} can't be decrypted: {then}.",
            "Put the old key back (ODATA_HOME/webhook_secret_keys, or at the end of WEBHOOK_SECRET_KEYS), or "
            f"{instead}.",
        )
    else:
        yield ok(what, f"All {len(sealed):,} {things} can be decrypted.")


def sessions() -> Iterator[Finding]:
    """Whether the newest session was signed with our SECRET_KEY, as it is not where each machine has its own."""
    store = SessionStore()
    with own_connection() as database:
        newest = database.execute(NEWEST_SESSION).fetchone()
    if newest is None:
        yield ok("sessions", "Nobody is logged in.")
        return
    try:
        signing.loads(newest[0], salt=store.key_salt, serializer=store.serializer)
    except signing.BadSignature:
        yield warning(
            "sessions",
            "The newest session was signed with another SECRET_KEY: who logged in then is logged out here.",
            "Where it was changed on purpose, people log in anew. Else give all processes the same SECRET_KEY, or put "
            "ODATA_HOME/secret_key back.",
        )
    else:
        yield ok("sessions", "The newest session was signed with this SECRET_KEY.")


def _can_be_read(sealed: str) -> bool:
    if not settings.WEBHOOK_SECRET_KEYS:  # those that are set can't be used
        return False
    try:
        unseal(sealed)
    except UnreadableSecretError:
        return False
    return True


def _ago(at: float) -> str:
    return f"{_span(max(0.0, time.time() - at))} ago"


def _span(seconds: float) -> str:
    """A length of time for people: its two largest units say enough."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    words = str(timedelta(seconds=int(seconds)))
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else words
