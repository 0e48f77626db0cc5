"""Where deliveries go: what the dispatcher must know of an endpoint to send it something, secrets included."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.errors import ServiceError
from common.sealing import unseal
from webhooks import keys, signing
from webhooks.models import EndpointSecret, WebhookEndpoint
from webhooks.signing import SigningKey

logger = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How long what was read of an endpoint is good: a key that was rotated away signs no longer than this."""
MASK = "••••"
"""Stands for the values of an endpoint's own headers wherever people look."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint as the dispatcher sees it."""

    endpoint_id: uuid.UUID
    url: str
    timeout: float
    retry_delays: list[int] | None
    most: float | None
    """Requests per second that an adaptive endpoint may rise to; None for others."""
    keys: list[SigningKey] = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    """The endpoint's own."""
    problem: str = ""
    """Why nothing can be sent to it, whatever the receiver does."""

    def request_headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        return {
            **self.headers,
            "content-type": "application/json",
            **signing.headers(self.keys, message_id, timestamp, body),
        }

    def shown(self, headers: dict[str, str]) -> dict[str, str]:
        """The headers of a request as the log has them: the endpoint's own may hold a password."""
        return {**headers, **dict.fromkeys(self.headers, MASK)}


def read(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Target]:
    """These endpoints, those of them that are still there."""
    endpoints = list(WebhookEndpoint.objects.filter(pk__in=list(ids)))
    sealed = keys.sealed_by_endpoint(endpoints)
    return {endpoint.pk: _target(endpoint, sealed[endpoint.pk]) for endpoint in endpoints}


def read_one(endpoint: WebhookEndpoint) -> Target:
    """The same of one endpoint."""
    return _target(endpoint, keys.sealed_by_endpoint([endpoint])[endpoint.pk])


def own_headers(endpoint: WebhookEndpoint) -> dict[str, str]:
    """The endpoint's own request headers, as they are sent. Raises UnreadableSecretError."""
    if not endpoint.sealed_headers:
        return {}
    headers: dict[str, str] = json.loads(unseal(endpoint.sealed_headers))
    return headers


def _target(endpoint: WebhookEndpoint, sealed: Iterable[EndpointSecret]) -> Target:
    """An endpoint whose secrets can't be read is one with a problem: the others must not suffer from it."""
    problem = ""
    signers: list[SigningKey] = []
    headers: dict[str, str] = {}
    try:
        signers = keys.opened(sealed)
        headers = own_headers(endpoint)
    except ServiceError as error:
        problem = error.detail
    if not signers and not problem:
        problem = "The endpoint has no key to sign with: rotate its secret to give it one."
    if problem:
        logger.error("webhook_endpoint_unusable: %s", problem, extra={"endpoint_id": str(endpoint.pk)})
    return Target(
        endpoint_id=endpoint.pk,
        url=endpoint.url,
        timeout=float(endpoint.timeout_seconds),
        retry_delays=endpoint.retry_delays,
        most=float(endpoint.rate_per_second) if endpoint.adaptive_rate else None,
        keys=signers,
        headers=headers,
        problem=problem,
    )


class Targets:
    """What was read of endpoints lately."""

    def __init__(self) -> None:
        self._read: dict[uuid.UUID, tuple[float, Target]] = {}

    def known(self, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Target]:
        """These endpoints. Reads those that are not known, or not for sure any more; keeps no others for long."""
        now = time.monotonic()
        wanted = set(ids)
        self._read = {pk: known for pk, known in self._read.items() if now - known[0] < FRESH_SECONDS}
        missing = wanted - self._read.keys()
        if missing:
            self._read |= {pk: (now, target) for pk, target in read(missing).items()}
        return {pk: self._read[pk][1] for pk in wanted if pk in self._read}
