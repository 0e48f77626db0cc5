"""The same columns as ours, on the table that the peer is given."""

from __future__ import annotations

import peer
from django.db import models


class Product(models.Model):
    """Without defaults of the database, which would keep `bulk_create` from its fastest way to insert."""

    sku = models.CharField(max_length=100, unique=True)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, default="")
    status = models.CharField(max_length=8, default="active")
    attributes = models.JSONField(default=dict)
    version = models.BigIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        managed = False
        db_table = peer.table()
