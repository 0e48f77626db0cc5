"""Endpoints: made, changed, switched off and on, removed. What may be an endpoint is said here, for every face."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from common import sealing
from common.errors import FieldError, InvalidInputError, NotFoundError, in_short
from webhooks import deliveries, egress, keys
from webhooks.event_types import EVENT_TYPES
from webhooks.models import SignatureKind, WebhookEndpoint
from webhooks.targets import MASK, own_headers

if TYPE_CHECKING:
    from accounts.models import User

CHOSEN_EXPRESSLY = frozenset({"products.changed"})
"""Types that nobody gets who does not name them: an import of 500,000 products makes 3,334 of these."""

BOUNDS = {"timeout_seconds": (1, 30), "rate_per_second": (1, 1000), "concurrency": (1, 1000), "batch_items": (1, 1000)}
MOST_RETRIES = 20
LONGEST_DELAY = 7 * 24 * 3600
"""Seconds between two attempts."""

PLAIN = ("description", "adaptive_rate", "ordered")
UNREADABLE = "(unreadable)"
"""Stands for the names of headers that no key in WEBHOOK_SECRET_KEYS decrypts. No header can be called so."""


def default_event_types() -> list[str]:
    """What an endpoint is told whose maker does not say."""
    return [name for name in EVENT_TYPES if name not in CHOSEN_EXPRESSLY]


@transaction.atomic
def create(fields: Mapping[str, Any], *, actor: User | None, secret: str = "") -> tuple[WebhookEndpoint, str | None]:
    """Make an endpoint; returns it with its `v1` secret, which can't be had again (None if it only signs by `v1a`).

    `secret` is one that its receiver knows already; left empty, one is made. Raises InvalidInputError that names
    all bad fields.
    """
    values = checked({"event_types": default_event_types(), **fields})
    endpoint = WebhookEndpoint.objects.create(**values, created_by=actor)
    endpoint.refresh_from_db()
    issued = keys.issue_keys(endpoint, [secret] if secret else [])
    audit.record(actor, "webhook.created", endpoint, {"url": endpoint.url})
    return endpoint, secret_in(issued)


@transaction.atomic
def update(
    endpoint: WebhookEndpoint, fields: Mapping[str, Any], *, actor: User | None
) -> tuple[WebhookEndpoint, str | None]:
    """Give an endpoint these values; returns it with a new `v1` secret if it had none and signs by it now.
    Raises InvalidInputError that names all bad fields, and NotFoundError."""
    values = checked(fields)
    endpoint = _locked(endpoint)
    if "headers" not in fields and endpoint.sealed_headers and is_another_receiver(endpoint, fields.get("url")):
        message = (
            "The endpoint's own headers were written for another host, and may hold its password. With a URL of "
            "another host send `headers` as well: those that this one is to get, or none."
        )
        raise InvalidInputError(message, errors=[FieldError("/headers", "headers_of_another_host", message)])
    if "enabled" in values and values["enabled"] != endpoint.enabled:
        values |= {"disabled_at": None if values["enabled"] else Now(), "disabled_reason": ""}
        if values["enabled"]:
            deliveries.begin_anew(endpoint)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(**values, updated_at=Now())
    endpoint.refresh_from_db()
    issued = keys.issue_keys(endpoint)
    audit.record(actor, "webhook.changed", endpoint, {"url": endpoint.url, "fields": sorted(fields)})
    return endpoint, secret_in(issued)


@transaction.atomic
def rotate(endpoint: WebhookEndpoint, overlap: timedelta, *, actor: User | None) -> str | None:
    """New keys in place of the present ones, which sign as well for the time of `overlap`; returns the `v1` secret
    among them. Raises NotFoundError, and what `keys.rotate` raises."""
    _locked(endpoint)
    issued = keys.rotate(endpoint, overlap)
    audit.record(actor, "webhook.secret_rotated", endpoint, {"url": endpoint.url, "overlap": str(overlap)})
    return secret_in(issued)


def secret_in(issued: list[keys.IssuedKey]) -> str | None:
    """The `whsec_..` among new keys. What is public of the others can be read at any time."""
    return next((key.text for key in issued if key.kind == SignatureKind.V1), None)


@transaction.atomic
def delete(endpoint: WebhookEndpoint, *, actor: User | None) -> None:
    """Remove an endpoint, its secrets with it. What it was still to be told is discarded; its log stays.
    Raises NotFoundError."""
    _locked(endpoint)
    deliveries.discard(endpoint)
    audit.record(actor, "webhook.deleted", endpoint, {"url": endpoint.url})
    endpoint.delete()


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """The endpoint as it is by now. Nobody else changes or removes it until the transaction ends; whoever wants its
    `EndpointState` as well takes that afterwards. Raises NotFoundError."""
    found = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=endpoint.pk).first()
    if found is None:
        raise NotFoundError("This webhook endpoint has just been removed.")
    return found


def is_another_receiver(endpoint: WebhookEndpoint, url: str | None) -> bool:
    """Whether this URL leads to another host than the endpoint's does, or there in another way."""
    return url is not None and urlsplit(url.lower())[:2] != urlsplit(endpoint.url.lower())[:2]


def masked_headers(endpoint: WebhookEndpoint) -> dict[str, str]:
    """The names of the endpoint's own request headers; their values are nobody's business."""
    try:
        return dict.fromkeys(own_headers(endpoint), MASK)
    except sealing.UnreadableSecretError:
        return {UNREADABLE: MASK}


# --- what an endpoint may be ---------------------------------------------------------------------


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """These fields as they are stored. Raises InvalidInputError that names all bad ones."""
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in fields.items():
        try:
            values |= _checked(name, value)
        except InvalidInputError as error:
            errors += error.errors or [FieldError(f"/{name}", error.code, error.detail)]
    if errors:
        raise InvalidInputError(in_short(errors), code=errors[0].code, errors=errors)
    return values


def _checked(name: str, value: Any) -> dict[str, Any]:
    if name == "url":
        egress.check_url(value)
    elif name == "event_types":
        value = _known(value, EVENT_TYPES, "unknown_event_type", "type of event")
    elif name == "signatures":
        value = _known(value, SignatureKind.values, "unknown_signature", "way of signing")
    elif name == "headers":
        egress.check_headers(value)
        return {"sealed_headers": sealing.seal(json.dumps(value)) if value else ""}
    elif name == "retry_delays":
        _check_delays(value)
    elif name in BOUNDS:
        least, most = BOUNDS[name]
        if not least <= value <= most:
            raise InvalidInputError(f"{name} must be from {least} to {most}.", code="out_of_bounds")
    elif name not in (*PLAIN, "enabled"):
        raise InvalidInputError(f"An endpoint has no {name!r}.", code="unknown_field")
    return {name: value}


def _known(values: list[str], known: Any, code: str, what: str) -> list[str]:
    """The values once each, in the order of those that are known. Raises InvalidInputError."""
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInputError(f"{unknown[0]!r} is no {what}. There are: {', '.join(known)}.", code=code)
    if not values:
        raise InvalidInputError(f"At least one {what} is needed.", code="empty")
    return [each for each in known if each in values]


def _check_delays(delays: list[int] | None) -> None:
    if delays is not None and not (
        1 <= len(delays) <= MOST_RETRIES and all(0 < delay <= LONGEST_DELAY for delay in delays)
    ):
        raise InvalidInputError(
            f"retry_delays must be 1 to {MOST_RETRIES} numbers of seconds, each from 1 to {LONGEST_DELAY} (7 days); "
            "null for those of Standard Webhooks.",
            code="out_of_bounds",
        )
