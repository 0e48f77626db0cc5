"""What is still to be told to those who want each change of many: a pointer into the history, never a copy."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from products.models.catalogue import CurrentTransactionId, TransactionIdField


class ChangePush(models.Model):
    """The changes of one transaction that one endpoint is to be told of, in batches; gone when it was told of all.

    It is written in the transaction that made them. Its endpoint is told of one push after the other, in the order
    of their ids.
    """

    endpoint_id = models.UUIDField()
    import_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=4, blank=True, help_text="Of the import; empty where there is none.")
    actor_id = models.BigIntegerField(null=True)
    transaction_id = TransactionIdField(db_default=CurrentTransactionId(), editable=False)
    after = models.BigIntegerField(help_text="Changes with ids above this one are still to be told ...")
    until = models.BigIntegerField(help_text="... up to this one.")
    batches = models.IntegerField(default=0, help_text="That were made of it so far.")
    items_total = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["endpoint_id", "id"], name="push_of_endpoint")]

    def __str__(self) -> str:
        return f"{self.items_total:,} changes for {self.endpoint_id}"
