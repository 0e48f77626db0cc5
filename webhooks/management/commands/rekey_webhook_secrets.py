"""`manage.py rekey_webhook_secrets`: every secret in the database, encrypted with the ring's first key."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from accounts.models import IdempotentReply
from common.sealing import UnreadableSecretError, is_fresh, reseal, unseal

BATCH = 500
"""Rows that are locked at a time."""


class Found(Enum):
    """What a sealed value was encrypted with."""

    FRESH = "the first key"
    STALE = "another key of the ring"
    UNREADABLE = "a key that is not in the ring"


class Command(BaseCommand):
    help = (
        "Encrypt all secrets of webhooks and second factors in the database with the first key of WEBHOOK_SECRET_KEYS. "
        "May run while everything else does, and again at any time; afterwards the other keys can go."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Only count them; change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        found: Counter[Found] = Counter()
        unreadable: list[str] = []
        for column in sealed_columns():
            for row, outcome in rekey(column, write=not options["check"]):
                found[outcome] += 1
                if outcome is Found.UNREADABLE:
                    unreadable.append(f"{owner(row)} ({column.name})")
        done = "to encrypt with the first key" if options["check"] else "now encrypted with the first key"
        self.stdout.write(
            f"{found.total()} secrets: {found[Found.STALE]} {done}, {found[Found.FRESH]} were before, "
            f"{found[Found.UNREADABLE]} can't be decrypted."
        )
        if unreadable:
            raise CommandError(
                "No key in WEBHOOK_SECRET_KEYS decrypts the secrets of these, which were left as they are: "
                f"{', '.join(unreadable)}. Add the key they were encrypted with, or give the endpoints new secrets and "
                "reset the second factors."
            )


def sealed_columns() -> list[models.Field[Any, Any]]:
    """Every column of ours that `common.sealing` encrypts: their names begin with `sealed`. Stored answers have keys of
    their own (`accounts.idempotency`)."""
    models_of_ours = [model for app in ("accounts", "webhooks") for model in apps.get_app_config(app).get_models()]
    return [
        column
        for model in models_of_ours
        for column in model._meta.concrete_fields
        if column.name.startswith("sealed") and model is not IdempotentReply
    ]


def owner(row: Any) -> str:
    """Whose secret it is: an endpoint by its id, a person by their name."""
    return f"user {row.user}" if hasattr(row, "user_id") else str(getattr(row, "endpoint_id", row.pk))


def rekey(column: models.Field[Any, Any], *, write: bool) -> Iterator[tuple[models.Model, Found]]:
    """Each row that has a secret in this column, and how it was found; if `write`, it is encrypted anew by then."""
    rows = column.model._base_manager.exclude(**{column.name: ""}).order_by("pk")
    batch: list[models.Model] = []
    while True:
        rest = rows.filter(pk__gt=batch[-1].pk) if batch else rows
        with transaction.atomic():
            batch = list(rest.select_for_update(no_key=True)[:BATCH] if write else rest[:BATCH])
            found = [judge(getattr(row, column.name)) for row in batch]
            if write:
                stale = [row for row, outcome in zip(batch, found, strict=True) if outcome is Found.STALE]
                for row in stale:
                    setattr(row, column.name, reseal(getattr(row, column.name)))
                column.model._base_manager.bulk_update(stale, [column.name])
        if not batch:
            return
        yield from zip(batch, found, strict=True)


def judge(sealed: str) -> Found:
    if is_fresh(sealed):
        return Found.FRESH
    try:
        unseal(sealed)
    except UnreadableSecretError:
        return Found.UNREADABLE
    return Found.STALE
