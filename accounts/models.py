"""Who people are, and the tokens their programs carry."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone


class User(AbstractUser):
    """A person. Ours from the first migration on, so that it can grow."""


class Scope(models.TextChoices):
    """What a token may be used for. Each stands alone: `import` does not contain `write`."""

    READ = "read", "Read products and imports"
    WRITE = "write", "Create, change and delete products"
    IMPORT = "import", "Start, cancel and follow imports"
    WEBHOOKS = "webhooks", "Manage webhook endpoints and see their deliveries"


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
