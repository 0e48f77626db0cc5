"""The shapes of what goes in and out. The rules about values are those of `webhooks.endpoints`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common import fields
from common.errors import InvalidInputError
from common.openapi import example
from webhooks.egress import HEADER_VALUE_MAX, HEADERS_MAX
from webhooks.endpoints import BOUNDS, LONGEST_DELAY, MOST_RETRIES
from webhooks.event_types import NAMES
from webhooks.models import Delivery, Lane, SignatureKind, Trigger

READ_ONLY = frozenset(
    {
        "id",
        "secret",
        "public_key",
        "disabled_at",
        "disabled_reason",
        "created_at",
        "updated_at",
        "created_by",
        "health",
        "secrets",
        "links",
    }
)
"""Fields of an answer that may be sent back with it and are then overlooked."""


# --- fields whose rules `webhooks.endpoints` holds, with sentences of its own; here they are told to the schema ---

_64 = "[A-Za-z0-9+/]"
_24_TO_64_BYTES = f"(({_64}{{4}}){{8,20}}({_64}{{2,3}})?|({_64}{{4}}){{21}}({_64}{{2}})?)"


@extend_schema_field(
    {
        "type": "string",
        "maxLength": 2048,
        "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
        r"([/?][A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?$",
    }
)
class UrlField(fields.Text):
    """Where to send to."""


@extend_schema_field({"type": "array", "minItems": 1, "items": {"type": "string", "enum": NAMES}})
class EventTypesField(serializers.ListField):
    """What to tell."""


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": HEADERS_MAX,
        "propertyNames": {"pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"},
        "additionalProperties": {
            "type": "string",
            "maxLength": HEADER_VALUE_MAX,
            "pattern": r"^[!-~]([ \t!-~]*[!-~])?$",
        },
    }
)
class HeadersField(serializers.DictField):
    """What to send beside the headers that are always there."""


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_RETRIES,
        "items": {"type": "integer", "minimum": 1, "maximum": LONGEST_DELAY},
    }
)
class DelaysField(serializers.ListField):
    """When to try again."""


@extend_schema_field(
    {
        "type": "string",
        "maxLength": 200,
        "pattern": f"^(whsec_{_24_TO_64_BYTES}|whsk_{_64}{{86}})={{0,2}}$",
    }
)
class SecretField(fields.Text):
    """24 to 64 bytes in base64, or a private key."""


def bounded(name: str, help_text: str) -> fields.Whole:
    """A number of an endpoint that may be left out."""
    least, most = BOUNDS[name]
    return fields.Whole(required=False, min_value=least, max_value=most, help_text=help_text)


@example(
    "An endpoint",
    {"url": "https://shop.example.com/hooks/catalogue", "event_types": ["products.changed"], "ordered": True},
)
class EndpointFields(fields.Body):
    """The fields of an endpoint that a request may give."""

    passed_over = READ_ONLY

    url = UrlField(max_length=2048, help_text="Where to POST: http or https, with a public address.")
    description = fields.Text(
        required=False, allow_blank=True, max_length=255, help_text="In words you will know it by."
    )
    event_types = EventTypesField(
        child=fields.Text(max_length=100),
        required=False,
        help_text="The types to send. Left out: all but `products.changed`.",
    )
    enabled = fields.Flag(
        required=False, help_text="False: its deliveries wait, for 30 days or what the operator has set."
    )
    signatures = serializers.ListField(
        child=serializers.ChoiceField(SignatureKind.choices),
        min_length=1,
        required=False,
        help_text="`v1` (HMAC-SHA256), `v1a` (ed25519), or both. Left out: `v1`.",
    )
    headers = HeadersField(
        child=fields.Text(allow_blank=True),
        required=False,
        help_text="Headers of your own for each request, such as an `Authorization`. Encrypted, and never shown again.",
    )
    timeout_seconds = bounded("timeout_seconds", "For a whole attempt.")
    rate_per_second = bounded("rate_per_second", "Requests a second, at most.")
    adaptive_rate = fields.Flag(required=False, help_text="Halve the rate at each 429, and let it grow again.")
    concurrency = bounded("concurrency", "Requests open at a time, at most.")
    ordered = fields.Flag(
        required=False, help_text="One delivery after the other; one that fails holds up those behind it."
    )
    retry_delays = DelaysField(
        child=fields.Whole(min_value=1),
        required=False,
        allow_null=True,
        max_length=MOST_RETRIES,
        help_text="Seconds before the second, third .. attempt. Null: those of Standard Webhooks, 75 hours in all.",
    )
    batch_items = bounded("batch_items", "Products in one `products.changed`, at most.")


@example(
    "An endpoint",
    {"url": "https://shop.example.com/hooks/catalogue", "event_types": ["product.updated", "import.completed"]},
)
class NewEndpoint(EndpointFields):
    """An endpoint to make."""

    secret = SecretField(
        required=False,
        write_only=True,
        max_length=200,
        help_text="A `whsec_` secret that the receiver knows already; 24 to 64 bytes in base64. Left out: one is made.",
    )


@example("Fewer at a time", {"rate_per_second": 10, "concurrency": 5})
class EndpointPatch(EndpointFields):
    """The fields of an endpoint to change; what is left out stays."""

    url = UrlField(
        required=False,
        max_length=2048,
        help_text="Where to POST: http or https, with a public address.",
    )


class SecretDocument(serializers.Serializer):
    """A key that signs, without what it consists of."""

    kind = serializers.ChoiceField(SignatureKind.choices, help_text="How it signs.")
    created_at = serializers.DateTimeField(help_text="When it was made.")
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When an old one ceases to sign; null for the present one."
    )


class HealthDocument(serializers.Serializer):
    """How an endpoint fares."""

    success_rate = serializers.FloatField(
        allow_null=True, help_text="Share of the attempts of the last 24 hours that were answered by 2xx."
    )
    p95_ms = serializers.IntegerField(allow_null=True, help_text="95 % of these took no longer, in milliseconds.")
    backlog = serializers.IntegerField(help_text="Deliveries that are still to be made.")
    oldest_due_at = serializers.DateTimeField(
        allow_null=True, help_text="When the delivery that has waited longest, or comes next, is or was due."
    )
    drain_seconds = serializers.IntegerField(
        allow_null=True, help_text="How long the backlog takes at the endpoint's rate."
    )
    state = serializers.CharField(
        help_text="`ok`, `failing`, `deferred` (its breaker is open), `paused` or `disabled`."
    )


class EndpointDocument(serializers.Serializer):
    """An endpoint."""

    id = serializers.UUIDField(help_text="Names it in the addresses.")
    url = serializers.CharField(help_text="Where it is sent to.")
    description = serializers.CharField(help_text="In its maker's words.")
    event_types = serializers.ListField(child=serializers.CharField(), help_text="What it is told.")
    enabled = serializers.BooleanField(help_text="False: its deliveries wait.")
    disabled_at = serializers.DateTimeField(allow_null=True, help_text="Since when it has been off.")
    disabled_reason = serializers.CharField(help_text="Why the service turned it off; empty where a person did.")
    signatures = serializers.ListField(
        child=serializers.ChoiceField(SignatureKind.choices), help_text="How deliveries are signed."
    )
    public_key = serializers.CharField(allow_null=True, help_text="`whpk_..`: checks `v1a` signatures.")
    secrets = SecretDocument(many=True, help_text="The keys that sign, without what they consist of.")
    headers = serializers.DictField(
        child=serializers.CharField(), help_text="Names of its own headers; the values are masked."
    )
    timeout_seconds = serializers.IntegerField(help_text="For a whole attempt.")
    rate_per_second = serializers.IntegerField(help_text="Requests a second, at most.")
    adaptive_rate = serializers.BooleanField(help_text="Whether the rate is halved at each 429, and grows again.")
    concurrency = serializers.IntegerField(help_text="Requests open at a time, at most.")
    ordered = serializers.BooleanField(help_text="One delivery after the other.")
    retry_delays = serializers.ListField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="Seconds before the second, third .. attempt; null: those of Standard Webhooks.",
    )
    batch_items = serializers.IntegerField(help_text="Products in one `products.changed`, at most.")
    created_by = serializers.CharField(allow_null=True, help_text="Username; null for nobody, or nobody any more.")
    created_at = serializers.DateTimeField(help_text="When it was made.")
    updated_at = serializers.DateTimeField(help_text="When it was last changed.")
    health = HealthDocument(help_text="How it fares.")


class MadeEndpoint(EndpointDocument):
    """An endpoint with its secret, this once."""

    secret = serializers.CharField(
        allow_null=True, help_text="`whsec_..`: checks `v1` signatures. It is not shown again."
    )


@example("An hour of both", {"overlap_hours": 1})
class Rotation(fields.Body):
    """How to change a secret."""

    overlap_hours = fields.Whole(
        required=False, min_value=0, max_value=168, default=24, help_text="How long the old secret signs as well."
    )


@example("A ping", {"event_type": "ping"})
class EndpointTest(fields.Body):
    """Which example to send."""

    event_type = serializers.ChoiceField(
        NAMES,
        default="ping",
        help_text="The type whose example is sent.",
        error_messages={"invalid_choice": f"{{input!r}} is no type of event. There are: {', '.join(NAMES)}."},
    )


class AttemptDocument(serializers.Serializer):
    """One request, and what came of it."""

    id = serializers.UUIDField(help_text="Of the attempt.")
    delivery = serializers.UUIDField(help_text="The delivery that it was made for.")
    endpoint = serializers.UUIDField(help_text="The endpoint that it was made to.")
    event_id = serializers.CharField(help_text="The `webhook-id`.")
    number = serializers.IntegerField(help_text="1 for the first attempt.")
    trigger = serializers.ChoiceField(Trigger.choices, help_text="Why it was made.")
    started_at = serializers.DateTimeField(help_text="When it began.")
    url = serializers.CharField(help_text="Where it was sent to.")
    request_headers = serializers.DictField(
        child=serializers.CharField(), help_text="The values of your own are masked."
    )
    address = serializers.CharField(allow_null=True, help_text="The address that was connected to.")
    status = serializers.IntegerField(allow_null=True, help_text="HTTP status; null where there was no answer.")
    error = serializers.CharField(help_text="Class of the error, empty if there was none.")
    detail = serializers.CharField(help_text="The error in words.")
    reply_headers = serializers.DictField(child=serializers.CharField(), help_text="Some headers of the answer.")
    reply = serializers.CharField(help_text="The beginning of the answer's body, at most 4 KB.")
    reused = serializers.BooleanField(help_text="Whether the connection was kept from an earlier request.")
    dns_ms = serializers.IntegerField(
        allow_null=True, help_text="Milliseconds to look up the name; null where that was not done."
    )
    connect_ms = serializers.IntegerField(
        allow_null=True, help_text="Milliseconds to connect; null where a connection was there."
    )
    tls_ms = serializers.IntegerField(allow_null=True, help_text="Milliseconds of the TLS handshake; null without one.")
    first_byte_ms = serializers.IntegerField(
        allow_null=True, help_text="Milliseconds from the request to the beginning of the answer."
    )
    total_ms = serializers.IntegerField(help_text="Milliseconds in all.")


class DeliveryDocument(serializers.Serializer):
    """One event for one endpoint."""

    id = serializers.UUIDField(help_text="Of the delivery.")
    endpoint = serializers.UUIDField(help_text="The endpoint that is told.")
    event_id = serializers.CharField(help_text="The `webhook-id`: the same in every attempt and redelivery.")
    event_type = serializers.CharField(help_text="What it is told of.")
    state = serializers.ChoiceField(Delivery.State.choices, help_text="Pending until it was delivered or given up.")
    lane = serializers.ChoiceField(
        [(lane.name.lower(), lane.label) for lane in Lane], help_text="What imports tell waits behind what people do."
    )
    trigger = serializers.ChoiceField(Trigger.choices, help_text="Why it is made.")
    attempts = serializers.IntegerField(help_text="Made since it was last asked for.")
    next_attempt_at = serializers.DateTimeField(allow_null=True, help_text="Null where there is none to come.")
    last_status = serializers.IntegerField(allow_null=True, help_text="HTTP status of the last answer.")
    last_error = serializers.CharField(help_text="Class of the last error; empty if there was none.")
    created_at = serializers.DateTimeField(help_text="When the event happened.")
    finished_at = serializers.DateTimeField(allow_null=True, help_text="When it was delivered or given up.")


class DeliveryDetail(DeliveryDocument):
    """A delivery, with what is sent."""

    body = serializers.JSONField(allow_null=True, help_text="What is sent; null if it is not kept any more.")
    attempt_log = AttemptDocument(many=True, help_text="The latest attempts, newest first, 50 at most.")


class Redelivery(fields.Body):
    """Which deliveries to make again: those named, or those of an endpoint since a time."""

    rules = {
        "minProperties": 1,
        "dependentRequired": {
            "endpoint": ["since"],
            "since": ["endpoint"],
            "until": ["endpoint"],
            "state": ["endpoint"],
        },
        "dependentSchemas": {"ids": {"maxProperties": 1}},
    }

    ids = serializers.ListField(
        child=fields.Identifier(),
        required=False,
        min_length=1,
        max_length=1000,
        help_text="Deliveries, 1,000 at most.",
    )
    endpoint = fields.Identifier(required=False, help_text="All of this endpoint, with `since`.")
    since = serializers.DateTimeField(required=False, help_text="Made at this time or later.")
    until = serializers.DateTimeField(required=False, help_text="Made before this time.")
    state = serializers.ChoiceField(
        [("failed", "Failed"), ("delivered", "Delivered"), ("all", "All")],
        required=False,
        help_text="With `since`: which of them. `failed` if not given.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The values. Raises InvalidInputError if they do not say which deliveries are meant, or do so twice."""
        by_time = attrs.keys() - {"ids"}
        if "ids" in attrs and by_time:
            raise InvalidInputError(
                f"`ids` names the deliveries already: leave {', '.join(sorted(by_time))} out, or `ids`.",
                code="contradictory",
            )
        if "ids" not in attrs and not by_time >= {"endpoint", "since"}:
            raise InvalidInputError("Name deliveries by `ids`, or an `endpoint` and `since` when.", code="incomplete")
        return attrs


class Redelivered(serializers.Serializer):
    """How many will be made again."""

    redelivered = serializers.IntegerField(help_text="Deliveries.")
