"""`manage.py prune_audit`: remove old entries of the audit log, and note that in it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit


class Command(BaseCommand):
    help = "Remove entries of the audit log that are older than so many days. That this was done is noted in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than-days", type=int, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["older_than_days"]
        if not 1 <= days <= 36500:
            raise CommandError("--older-than-days needs a number from 1 to 36500.")
        removed = audit.prune(days)
        self.stdout.write(f"{removed} entries removed.")
