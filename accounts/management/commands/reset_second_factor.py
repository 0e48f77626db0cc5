"""`manage.py reset_second_factor`: for people who lost their phone and their recovery codes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django_otp import user_has_device

from accounts import audit, second_factor
from accounts.models import User


class Command(BaseCommand):
    help = "Remove somebody's second factor. Make sure first that it is they who ask. It is noted in the audit log."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="Whose second factor and recovery codes are removed.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        name = options["username"]
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        if not user_has_device(user, confirmed=None):
            raise CommandError(f"The user {name!r} has no second factor.")
        second_factor.remove(user)
        audit.record(None, "second_factor.reset", user, {"by": "manage.py"})
        self.stdout.write(f"Removed. {name} logs in by password alone, and may set a new one up on their page.")
