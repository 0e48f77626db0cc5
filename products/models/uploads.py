"""Files that arrive in parts: what is there of them so far."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import ApiToken
from common.ids import uuid7


class Upload(models.Model):
    """One resumable upload (tus 1.0), from its creation to the import that takes its file, or to its end."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    token = models.ForeignKey(
        ApiToken, null=True, on_delete=models.CASCADE, help_text="The one that began it; only it may go on."
    )
    file_name = models.CharField(max_length=255, help_text="As the uploader called it; data, never a path.")
    metadata = models.CharField(max_length=4000, blank=True, help_text="`Upload-Metadata` as it was sent.")
    length = models.BigIntegerField(help_text="Bytes that the file has.")
    offset = models.BigIntegerField(default=0, help_text="Bytes that are on the disk.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    taken_by = models.UUIDField(null=True, help_text="The import that has the file now.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["expires_at"], name="upload_expiry")]

    def __str__(self) -> str:
        return f"{self.file_name} ({self.offset} of {self.length})"
