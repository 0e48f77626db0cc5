"""`manage.py prune_audit`: remove old entries of the audit log, and note that in it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone

from accounts import audit
from accounts.models import AuditEntry


class Command(BaseCommand):
    help = "Remove entries of the audit log that are older than so many days. That this was done is noted in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than-days", type=int, required=True)

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than_days"]
        if not 1 <= days <= 36500:
            raise CommandError("--older-than-days needs a number from 1 to 36500.")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL odata.prune_audit = 'on'")
            removed, _ = AuditEntry.objects.filter(at__lt=timezone.now() - timedelta(days=days)).delete()
            cursor.execute("SET LOCAL odata.prune_audit = 'off'")
        audit.record(None, "audit.pruned", details={"older_than_days": days, "entries": removed})
        self.stdout.write(f"{removed} entries removed.")
