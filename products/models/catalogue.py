"""Products, and the history of every change to them."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex, GinIndex, OpClass
from django.db import models
from django.db.models.functions import Lower, Now

EDITABLE = ("name", "description", "status", "attributes")
"""What of a product may change, in the order in which it is told. The sku names it, and names don't change."""


class Product(models.Model):
    """One product. Written through `products.catalogue` or an import, never by `save()`: those
    two also write the history."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        INACTIVE = "inactive", "Inactive"

    sku = models.CharField(max_length=100)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, default="", db_default="")
    status = models.CharField(max_length=8, choices=Status, default=Status.ACTIVE, db_default=Status.ACTIVE)
    attributes = models.JSONField(blank=True, default=dict, db_default={})
    version = models.BigIntegerField(default=1, db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            # text_pattern_ops compares bytes whatever the database's locale, and serves prefixes too.
            models.UniqueConstraint(OpClass(Lower("sku"), name="text_pattern_ops"), name="product_sku_unique"),
            models.CheckConstraint(condition=models.Q(status__in=["active", "inactive"]), name="product_status_known"),
            models.CheckConstraint(condition=models.Q(version__gte=1), name="product_version_positive"),
        ]
        indexes = [
            # Nearly all products are active: an index of the few others costs an import nothing.
            models.Index(fields=["id"], name="product_inactive", condition=models.Q(status="inactive")),
            # For `?attributes.colour=red`. Products without attributes cost an import nothing.
            GinIndex(
                OpClass("attributes", name="jsonb_path_ops"),
                name="product_attributes",
                condition=~models.Q(attributes={}),
            ),
        ]

    def __str__(self) -> str:
        return self.sku


class TransactionIdField(models.BigIntegerField):
    """PostgreSQL's `xid8`: the id of the transaction that wrote the row, never reused."""

    def db_type(self, connection: object) -> str:
        return "xid8"

    def from_db_value(self, value: str | None, *args: object) -> int | None:
        return None if value is None else int(value)


class CurrentTransactionId(models.Func):
    """`pg_current_xact_id()`, as a column's default."""

    function = "pg_current_xact_id"
    output_field = TransactionIdField()


class ProductChangeQuerySet(models.QuerySet["ProductChange"]):
    def of_product(
        self,
        product_id: int,
        *,
        older_than: int | None = None,
        newer_than: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> ProductChangeQuerySet:
        """One product's history, oldest or newest first, or the beginning of what has ids below or above these. The
        two halves are there for the two indexes, in whose order no more is read than is wanted."""
        found = self.filter(product_id=product_id)
        if older_than is not None:
            found = found.filter(id__lt=older_than)
        if newer_than is not None:
            found = found.filter(id__gt=newer_than)
        order = "-id" if newest_first else "id"
        created, later = found.filter(action="created"), found.exclude(action="created").order_by(order)
        return created.union(later[:limit], all=True).order_by(order)[:limit]


class ProductChange(models.Model):
    """One change of one product, whichever way it came.

    No foreign keys in the database: history outlives the product, and a check a row would double
    the cost of an import. The indexes are chosen for appending half a million rows at a time; see
    docs/decisions/0003-history-is-append-only.md.
    """

    class Action(models.TextChoices):
        CREATED = "created", "Created"
        UPDATED = "updated", "Updated"
        DELETED = "deleted", "Deleted"

    product_id = models.BigIntegerField()
    sku = models.CharField(max_length=100)
    action = models.CharField(max_length=7, choices=Action)
    version = models.BigIntegerField(help_text="The product's version after the change.")
    previous = models.JSONField(null=True, help_text="The changed fields with the values they had before.")
    import_id = models.UUIDField(null=True)
    line_number = models.BigIntegerField(null=True, help_text="Line of the import's file.")
    actor_id = models.BigIntegerField(null=True)
    changed_at = models.DateTimeField(db_default=Now())
    transaction_id = TransactionIdField(db_default=CurrentTransactionId(), editable=False)

    objects = ProductChangeQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # The rows lie in the order of their ids, so a summary of each block range finds them: of several stretches,
            # since PostgreSQL puts later rows that are small into what others have left of their pages.
            BrinIndex(OpClass("id", name="int8_minmax_multi_ops"), name="change_by_id", pages_per_range=32),
            # Products are created in the order of their ids: a summary finds the row of their creation.
            BrinIndex(
                fields=["product_id"],
                name="change_creating_product",
                pages_per_range=32,
                condition=models.Q(action="created"),
            ),
            models.Index(fields=["product_id", "id"], name="change_of_product", condition=~models.Q(action="created")),
            # By its sku a product that is gone is found nowhere else. Few are deleted.
            models.Index(
                OpClass(Lower("sku"), name="text_pattern_ops"),
                name="change_deleting_sku",
                condition=models.Q(action="deleted"),
            ),
            # For the feed of all changes, which is in the order of transactions. Those of imports lie together: the
            # import's row says where, so that an import pays nothing for this index.
            models.Index(
                fields=["transaction_id", "id"], name="change_by_transaction", condition=models.Q(import_id=None)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.action} v{self.version}"
