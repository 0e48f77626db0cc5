"""Who wants to be told what, what there is to tell, and every attempt to do so.

Events, deliveries and attempts are many, and are of use for some weeks: their tables are partitioned by day, by their
ids, which begin with the time (`common.ids.uuid7`), and whole days are dropped (`webhooks.partitions`). Deliveries
that are still to be made lie in a partition of their own, so that what the dispatchers look through stays small.
Partitioned tables have no foreign keys here: what they point to may be dropped before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from accounts import access
from common.ids import uuid7

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


class SignatureKind(models.TextChoices):
    """The ways of signing that Standard Webhooks knows."""

    V1 = "v1", "v1: HMAC-SHA256, with a secret that both sides know"
    V1A = "v1a", "v1a: ed25519, with a key that only this side knows"


def only_v1() -> list[str]:
    return [SignatureKind.V1.value]


class EndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def visible_to(self, user: User | AnonymousUser) -> EndpointQuerySet:
        """The endpoints that this person may know of: their own, or all by permission."""
        if access.may_see_all_endpoints(user):
            return self
        return self.filter(created_by=user.pk) if user.is_authenticated else self.none()


class WebhookEndpoint(models.Model):
    """Where somebody wants to hear of events, of which, and how fast."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    url = models.CharField(max_length=2048)
    description = models.CharField(max_length=255, blank=True, default="", db_default="")
    event_types = ArrayField(models.CharField(max_length=100), help_text="The types of events to send.")
    enabled = models.BooleanField(default=True, db_default=True, help_text="Off: its deliveries wait, for 30 days.")
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_reason = models.CharField(max_length=255, blank=True, default="", db_default="", editable=False)
    """Why the service itself turned it off; empty where a person did."""
    signatures = ArrayField(
        models.CharField(max_length=3, choices=SignatureKind), default=only_v1, help_text="How deliveries are signed."
    )
    sealed_headers = models.TextField(blank=True, default="", db_default="", editable=False)
    """The endpoint's own request headers, a JSON object, encrypted by `common.sealing`: they may hold a password."""
    timeout_seconds = models.PositiveSmallIntegerField(default=15, db_default=15, help_text="For a whole attempt.")
    rate_per_second = models.PositiveSmallIntegerField(default=50, db_default=50)
    adaptive_rate = models.BooleanField(default=False, db_default=False)
    """Whether the rate is halved when the receiver says 429, and grows again with each success."""
    concurrency = models.PositiveSmallIntegerField(default=25, db_default=25, help_text="Requests open at a time.")
    ordered = models.BooleanField(default=False, db_default=False, help_text="One after the other, none overtaken.")
    retry_delays = ArrayField(models.PositiveIntegerField(), null=True, blank=True)
    """Seconds before the second, third .. attempt; null: those of Standard Webhooks."""
    batch_items = models.PositiveSmallIntegerField(default=150, db_default=150)
    """Most products in one `products.changed`."""
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = EndpointQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(timeout_seconds__range=(1, 30)), name="endpoint_timeout_in_bounds"
            ),
            models.CheckConstraint(
                condition=models.Q(rate_per_second__range=(1, 1000)), name="endpoint_rate_in_bounds"
            ),
            models.CheckConstraint(
                condition=models.Q(concurrency__range=(1, 1000)), name="endpoint_concurrency_in_bounds"
            ),
            models.CheckConstraint(condition=models.Q(batch_items__range=(1, 1000)), name="endpoint_batch_in_bounds"),
        ]

    def __str__(self) -> str:
        return self.description or self.url


class EndpointSecret(models.Model):
    """A key that signs an endpoint's deliveries: the present one of its kind, or an old one until it expires."""

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="secrets")
    kind = models.CharField(max_length=3, choices=SignatureKind)
    sealed = models.TextField(editable=False)
    """`whsec_..` or `whsk_..`, encrypted by `common.sealing`."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)
    """Null: the present one."""

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "kind"], condition=models.Q(expires_at=None), name="endpoint_one_present_secret"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.endpoint_id}"


class Lane(models.IntegerChoices):
    """What goes first: a person's edit does not wait behind the half million of an import."""

    INTERACTIVE = 0, "Interactive"
    IMPORT = 1, "Import"


class Event(models.Model):
    """Something that happened, as it is told: written in the transaction that made it true, if anybody wants to know.

    Its id is the `webhook-id` of every delivery of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_type = models.CharField(max_length=100)
    body = models.TextField()
    """The JSON that is sent, to the byte."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.event_type} {self.id}"

    @property
    def message_id(self) -> str:
        """The `webhook-id`."""
        return message_id(self.id)


def message_id(event_id: Any) -> str:
    """The `webhook-id` under which an event is told: the same in every attempt and redelivery."""
    return f"evt_{event_id.hex}"


class Trigger(models.TextChoices):
    """Why an attempt is made."""

    SCHEDULE = "schedule", "On schedule"
    REDELIVERY = "redelivery", "Asked for again"
    TEST = "test", "Test"


class OfEndpointQuerySet(models.QuerySet[Any]):
    """Rows that tell of an endpoint, without a foreign key to it."""

    def visible_to(self, user: User | AnonymousUser) -> OfEndpointQuerySet:
        """Those of the endpoints that this person may know of."""
        if access.may_see_all_endpoints(user):
            return self
        return self.filter(endpoint_id__in=WebhookEndpoint.objects.visible_to(user).values("pk"))


class Delivery(models.Model):
    """One event for one endpoint: pending until it was delivered, or given up."""

    class State(models.TextChoices):
        PENDING = "pending", "Pending"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"
        DISCARDED = "discarded", "Discarded"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.UUIDField()
    endpoint_id = models.UUIDField()
    event_type = models.CharField(max_length=100)
    state = models.CharField(max_length=9, choices=State, default=State.PENDING, db_default=State.PENDING)
    lane = models.PositiveSmallIntegerField(choices=Lane, default=Lane.INTERACTIVE, db_default=Lane.INTERACTIVE)
    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.SCHEDULE, db_default=Trigger.SCHEDULE)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    """Attempts made since it was last asked for."""
    due_at = models.DateTimeField(db_default=Now())
    """When the next attempt is to be made."""
    claim = models.UUIDField(null=True)
    """Which claim of a dispatcher has it in hand; only that one may write what came of it."""
    claimed_until = models.DateTimeField(null=True)
    """When that claim counts as lost."""
    last_status = models.PositiveSmallIntegerField(null=True)
    """HTTP status of the last answer; null where there was none."""
    last_error = models.CharField(max_length=20, blank=True, default="", db_default="")
    """What class of error the last attempt ended in; empty if it was none."""
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = OfEndpointQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.event_type} {self.id} ({self.state})"


class Attempt(models.Model):
    """One request of a delivery, and what came of it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    delivery_id = models.UUIDField()
    endpoint_id = models.UUIDField()
    event_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    trigger = models.CharField(max_length=10, choices=Trigger, default=Trigger.SCHEDULE, db_default=Trigger.SCHEDULE)
    started_at = models.DateTimeField()
    url = models.CharField(max_length=2048)
    request_headers = models.JSONField()
    """As they were sent, with the values of the endpoint's own masked."""
    address = models.GenericIPAddressField(null=True)
    """The address that was really connected to."""
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=20, blank=True, default="", db_default="")
    detail = models.TextField(blank=True, default="", db_default="")
    reply_headers = models.JSONField(default=dict, db_default={})
    reply = models.TextField(blank=True, default="", db_default="")
    """The beginning of the answer's body, at most 4 KB."""
    reused = models.BooleanField(default=False, db_default=False)
    """Whether the connection was kept from an earlier request."""
    dns_ms = models.PositiveIntegerField(null=True)
    connect_ms = models.PositiveIntegerField(null=True)
    tls_ms = models.PositiveIntegerField(null=True)
    first_byte_ms = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField()

    objects = OfEndpointQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"Attempt {self.number} of {self.delivery_id}: {self.status or self.error}"


class EndpointState(models.Model):
    """How an endpoint is doing: small, and written with every claim and every batch of results.

    Its row is the lock under which an endpoint's deliveries are claimed, settled, asked for again and discarded.
    """

    endpoint = models.OneToOneField(WebhookEndpoint, on_delete=models.CASCADE, primary_key=True, related_name="state")
    # How fast: a token bucket, filled by the time since `refilled_at` (`webhooks/sql/claim.sql`).
    tokens = models.FloatField(default=1, db_default=1.0)
    refilled_at = models.DateTimeField(db_default=Now())
    rate = models.FloatField(null=True)
    """Requests per second that an adaptive endpoint is at; null: all that it may have."""
    rate_cut_at = models.DateTimeField(null=True)
    # Whether at all: the breaker (`webhooks/breaker.py`).
    open_until = models.DateTimeField(null=True)
    """Null: closed. In the future: open. In the past: half open, one probe may go."""
    openings = models.PositiveSmallIntegerField(default=0, db_default=0)
    """Times in a row that it opened without a success in between."""
    timeouts_in_row = models.PositiveIntegerField(default=0, db_default=0)
    recent = models.JSONField(default=list, db_default=[])
    """Of the last minute: `[slice, attempts, failures]`, a slice being some seconds since 1970."""
    # For how long it has not worked (`webhooks/health.py`).
    failing_since = models.DateTimeField(null=True)
    """The first failure since the last success."""
    failed_messages = models.PositiveIntegerField(default=0, db_default=0)
    """First attempts that failed since then."""
    warned_at = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)
    # For Prometheus: never reset.
    totals = models.JSONField(default=dict, db_default={})
    """Attempts by outcome."""
    latencies = ArrayField(models.BigIntegerField(), default=list, db_default=[])
    """Attempts by how long they took, in the buckets of `webhooks.outcomes`."""
    latency_ms = models.BigIntegerField(default=0, db_default=0)
    """The sum of how long they took."""

    def __str__(self) -> str:
        return f"State of {self.endpoint_id}"


class EndpointMinute(models.Model):
    """What came of an endpoint's attempts within one minute."""

    pk = models.CompositePrimaryKey("endpoint_id", "minute", "outcome")
    endpoint_id = models.UUIDField()
    minute = models.DateTimeField()
    outcome = models.CharField(max_length=20)
    """A class of `webhooks.outcomes`."""
    attempts = models.PositiveIntegerField()
    latencies = ArrayField(models.IntegerField())

    class Meta:
        ordering = ["minute"]
        indexes = [models.Index(fields=["minute"], name="endpoint_minute_by_time")]

    def __str__(self) -> str:
        return f"{self.attempts} {self.outcome} of {self.endpoint_id}"
