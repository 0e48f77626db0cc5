"""Who people are, and the tokens their programs carry."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from accounts.devices import Authenticator, RecoveryCodes

__all__ = ["ApiToken", "AuditEntry", "Authenticator", "RecoveryCodes", "Scope", "SocketTicket", "User", "digest_of"]


class User(AbstractUser):  # type: ignore[django-manager-missing] # of devices, whose manager has no types
    """A person. Ours from the first migration on, so that it can grow."""


class Scope(models.TextChoices):
    """What a token may be used for. Each stands alone: `import` does not contain `write`."""

    READ = "read", "Read products and imports"
    WRITE = "write", "Create, change and delete products"
    IMPORT = "import", "Start, cancel and follow imports"
    WEBHOOKS = "webhooks", "Manage webhook endpoints and see their deliveries"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def visible_to(self, user: User | AnonymousUser) -> ApiTokenQuerySet:
        """Everybody's for superusers, for others their own."""
        if user.is_superuser:
            return self
        return self.filter(user=user.pk) if user.is_authenticated else self.none()


class ApiToken(models.Model):
    """A key for programs: `odata_<key id>_<secret>`. Only a digest of the secret is stored.

    The secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess
    that a slow hash would protect, and every request pays for the check.
    """

    PREFIX: ClassVar[str] = "odata"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What it is for, in words you will know it by.")
    key_id = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope.choices), default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.PREFIX}_{self.key_id}_…)"

    @classmethod
    def issue(
        cls, user: User, *, name: str, scopes: list[str], expires_at: datetime | None = None
    ) -> tuple[ApiToken, str]:
        """Make a token. Returns it with its full string, which can't be had again."""
        secret = secrets.token_urlsafe(32)
        token = cls.objects.create(
            user=user,
            name=name,
            key_id=secrets.token_hex(8),
            digest=digest_of(secret),
            scopes=scopes,
            expires_at=expires_at,
        )
        return token, f"{cls.PREFIX}_{token.key_id}_{secret}"

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(self.digest, digest_of(secret))

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


def digest_of(secret: str) -> str:
    """What is stored of a token's secret: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SocketTicket(models.Model):
    """Lets a program of a token open one WebSocket where it can't send headers, as in a browser.

    In PostgreSQL, not in Valkey: it is gone with its token, and a socket can be opened while the queue is down.
    Only a digest is stored, as of tokens.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"ticket of {self.token_id}"


class IdempotentReply(models.Model):
    """The answer to a POST with an `Idempotency-Key`, written in the transaction of what the POST did.

    Nothing of it is in clear: `accounts.idempotency` says what it is, and how long it is kept.
    """

    digest = models.CharField(max_length=64, primary_key=True, help_text="Of the person and the key.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    sealed = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), db_index=True, editable=False)

    class Meta:
        verbose_name_plural = "idempotent replies"

    def __str__(self) -> str:
        return f"reply {self.digest[:8]}"


class AuditEntry(models.Model):
    """Who did what, from where. Written once: a trigger refuses to change or remove it.

    The actor is no foreign key, since removing a person must not touch what they did.
    """

    at = models.DateTimeField(db_default=Now(), editable=False)
    actor_id = models.BigIntegerField(null=True, editable=False)
    actor_name = models.CharField(max_length=150, blank=True, editable=False)
    action = models.CharField(max_length=60, editable=False, help_text="A past fact, such as token.issued.")
    object_type = models.CharField(max_length=60, blank=True, editable=False)
    object_id = models.CharField(max_length=255, blank=True, editable=False)
    details = models.JSONField(default=dict, editable=False)
    request_id = models.CharField(max_length=100, blank=True, editable=False)
    ip = models.GenericIPAddressField(null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["action", "-id"], name="audit_by_action"),
            # For "today" and the like. Entries lie in the order of their times.
            BrinIndex(fields=["at"], name="audit_by_time", pages_per_range=32),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_id}"
