"""What happened, waiting to be told to others."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from common.ids import uuid7


class OutboxEvent(models.Model):
    """One event, written in the transaction that made it true: a roll-back leaves none."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_type = models.CharField(max_length=100)
    payload = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())
    relayed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["created_at"]
        indexes = [
            models.Index(fields=["created_at"], name="outbox_waiting", condition=models.Q(relayed_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.id}"
