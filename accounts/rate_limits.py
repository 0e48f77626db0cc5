"""How many requests one token, person or address may make in a minute, in all web processes together.

Counted in Valkey, by one command that is atomic: of any number of requests at the same time exactly the limit gets
through. The minute begins with the first request. Without Valkey everything gets through, with a line in the log:
a limit protects the service, and must not be what ends it.

Every answer says how much is left, in the headers of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import redis
import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.throttling import BaseThrottle

from accounts.models import ApiToken
from common.client_ip import neighbourhood

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

WINDOW = 60
"""Seconds."""
DEADLINE = 0.25
"""Seconds that Valkey may take."""
SILENCE = 5.0
"""Seconds in which it is not asked after it failed: one request waits for DEADLINE, not all of them."""
_not_before = 0.0
"""When Valkey is asked again, by the monotonic clock."""


@dataclass(frozen=True)
class Standing:
    """Where a client stands: what it may make in all, how many are left, and the seconds until they are anew."""

    limit: int
    left: int
    reset: int


class ClientThrottle(BaseThrottle):
    """DRF's hook. The standing is left at the request, for `RateLimitMiddleware` to tell."""

    standing: Standing | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count this request, and say whether it is within the limit."""
        limit: int = settings.API_RATE_LIMIT
        if not limit:
            return True
        counted = count(who(request))
        if counted is None:
            return True
        number, reset = counted
        self.standing = Standing(limit, max(limit - number, 0), reset)
        request._request.rate_limit = self.standing  # type: ignore[attr-defined]
        return number <= limit

    def wait(self) -> float | None:
        """Seconds until it is worth asking again, for `Retry-After`."""
        return self.standing.reset if self.standing else None


class RateLimitMiddleware:
    """Tells every client that is counted where it stands, whatever the answer is."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        standing: Standing | None = getattr(request, "rate_limit", None)
        if standing is not None:
            response["RateLimit-Policy"] = f'"default";q={standing.limit};w={WINDOW}'
            response["RateLimit"] = f'"default";r={standing.left};t={standing.reset}'
        return response


def who(request: Request) -> str:
    """Who is counted: the token, else the person, else the address (of IPv6 the /64, which one customer has)."""
    if isinstance(request.auth, ApiToken):
        return f"token:{request.auth.pk}"
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"ip:{neighbourhood(request._request)}"


def count(name: str) -> tuple[int, int] | None:
    """The number of this request in its minute, and the seconds left of that; None if Valkey does not say."""
    global _not_before
    if time.monotonic() < _not_before:
        return None
    try:
        number, left = valkey().count(f"odata:rate:{name}")
    except redis.RedisError as error:
        _not_before = time.monotonic() + SILENCE
        log.warning("rate_not_limited", error=str(error), seconds=SILENCE)
        return None
    return int(number), max(1, -(-int(left) // 1000))


class Valkey:
    """Counts in one round trip, on a connection that rests between requests. The library's own pool asks with each
    command whether the connection still lives, and takes three times as much of the processor."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._resting: deque[redis.Connection] = deque()

    def count(self, key: str) -> tuple[int, int]:
        """The number of this request in the window of `key`, and the milliseconds left of that. Raises RedisError."""
        while True:
            connection, rested = self._connection()
            try:
                connection.send_packed_command(commands(key))
                number, _, left = connection.read_response(), connection.read_response(), connection.read_response()
            except BaseException as error:
                connection.disconnect()
                if rested and isinstance(error, redis.ConnectionError):
                    continue  # Valkey, or something on the way, has closed it meanwhile
                raise
            self._resting.append(connection)
            return number, left

    def _connection(self) -> tuple[redis.Connection, bool]:
        """One of our own, and whether it was used before."""
        try:
            return self._resting.pop(), True
        except IndexError:
            pool = self.client.connection_pool
            return pool.connection_class(**pool.connection_kwargs), False


@lru_cache(maxsize=1000)
def commands(key: str) -> list[bytes]:
    """Count one more, begin the window if there is none, and say how much is left of it: as they go over the line."""
    window = str(WINDOW * 1000)
    packed: list[bytes] = redis.Connection().pack_commands(
        [("INCR", key), ("PEXPIRE", key, window, "NX"), ("PTTL", key)]
    )
    return packed


@cache
def valkey() -> Valkey:
    """It gives up after DEADLINE rather than trying again."""
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=DEADLINE,
        socket_timeout=DEADLINE,
        retry=Retry(NoBackoff(), 0),
    )
    return Valkey(client)
