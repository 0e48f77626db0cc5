"""Valkey or Redis: whether it answers, and whether it would drop messages rather than say that it is full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import redis
from django.conf import settings

from odata import health
from odata.doctor.finding import Finding, error, ok, warning

OLDEST_MAJOR = 7
FULL = 0.8
"""Part of maxmemory above which it is nearly full."""


def server() -> Iterator[Finding]:
    began = time.monotonic()
    try:
        with health.valkey() as client:
            client.ping()
            took = (time.monotonic() - began) * 1000
            info: dict[str, Any] = client.info()
    except redis.RedisError as problem:
        place = "the embedded one: start it with manage.py up" if settings.EMBEDDED_VALKEY else "see REDIS_URL"
        reason = str(problem).strip().rstrip(".")
        sentence = f"Valkey can't be reached: {reason}. Imports wait, progress is seen by polling alone."
        yield error("valkey", sentence, f"Start or reach the server ({place}).")
        return
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    number = str(info.get("valkey_version") or info["redis_version"])
    sentence = f"{name} {number} answers in {took:.1f} ms."
    if int(number.split(".")[0]) < OLDEST_MAJOR:
        yield error("valkey", sentence, "Valkey, or Redis 7 or newer, is needed.")
    else:
        yield ok("valkey", sentence)
    yield from _memory(info)


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", "noeviction")
    most, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    if policy != "noeviction" and most:
        sentence = f"Full, it would drop keys ({policy}): messages and rate limits vanish without a word."
        yield warning("eviction", sentence, "CONFIG SET maxmemory-policy noeviction, and in its configuration file.")
    if most and used > FULL * most:
        sentence = f"{used / most:.0%} of its memory is used ({used / 1e6:,.0f} of {most / 1e6:,.0f} MB)."
        yield warning("memory", sentence, "Raise its maxmemory. Full, it takes no messages: imports start by sweeps.")
    else:
        limit = f"of {most / 1e6:,.0f} MB" if most else "without a limit"
        yield ok("memory", f"{used / 1e6:,.1f} MB of its memory are used, {limit}.")
