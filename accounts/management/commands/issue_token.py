"""`manage.py issue_token`: a new API token, printed once."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.access import scopes_of
from accounts.models import ApiToken, Scope, User
from accounts.roles import ROLES

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(weeks=5200)
"""A hundred years: beyond, a date soon leaves what PostgreSQL and Python can hold."""


class Command(BaseCommand):
    help = "Issue an API token. Only the token goes to stdout, so TOKEN=$(manage.py issue_token ...) works."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="Whose token it is; what it does is logged under that name.")
        parser.add_argument("--name", required=True, help="What it is for, in words you will know it by.")
        parser.add_argument("--scopes", required=True, help=f"Some of: {','.join(Scope.values)}.")
        parser.add_argument("--expires-in", metavar="TIME", help="Such as 12h, 30d or 8w; never, if not given.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        user = find_user(options["username"])
        token, full = ApiToken.issue(
            user,
            name=check_name(options["name"]),
            scopes=check_rights(user, parse_scopes(options["scopes"])),
            expires_at=parse_expiry(options["expires_in"]),
        )
        audit.record(None, "token.issued", token, {"by": "manage.py", "of": user.username, "scopes": token.scopes})
        self.stdout.write(full)
        until = f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "until you delete it"
        self.stderr.write(
            f"Token {token.name!r} of {token.user.username} for {', '.join(token.scopes)} works {until}. "
            "It is shown this once only. With it in the variable TOKEN:\n"
            f'  curl -H "Authorization: Bearer $TOKEN" http://localhost:{settings.ENV["PORT"]}/api/v1/products/'
        )


def find_user(username: str) -> User:
    """The active user of this name. Raises CommandError."""
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user {username!r}. Make one in the admin, or by manage.py createsuperuser.")
    if not user.is_active:
        raise CommandError(f"The user {username!r} is switched off, and so would be the token.")
    return user


def check_name(name: str) -> str:
    """The name, trimmed. Raises CommandError."""
    name = name.strip()
    longest = ApiToken._meta.get_field("name").max_length or 0
    if not name or len(name) > longest:
        raise CommandError(f"--name needs 1 to {longest} characters.")
    return name


def parse_scopes(text: str) -> list[str]:
    """The scopes of a comma-separated list, in their own order. Raises CommandError."""
    wanted = {part.strip() for part in text.split(",")} - {""}
    unknown = sorted(wanted - set(Scope.values))
    if unknown or not wanted:
        problem = f"Unknown scope {', '.join(unknown)}" if unknown else "No scope is given"
        raise CommandError(f"{problem}: --scopes takes some of {','.join(Scope.values)}.")
    return [scope for scope in Scope.values if scope in wanted]


def check_rights(user: User, scopes: list[str]) -> list[str]:
    """These scopes, if this person has the right to each. Raises CommandError."""
    beyond = [scope for scope in scopes if scope not in scopes_of(user, None)]
    if beyond:
        raise CommandError(
            f"The user {user.username!r} has no right to {', '.join(beyond)}, and a token may do no more than its "
            f"user. Give them a role first ({', '.join(ROLES)}; see docs/access.md), in the admin under Users."
        )
    return scopes


def parse_expiry(text: str | None) -> datetime | None:
    """The moment that lies this far ahead, such as `30d`. Raises CommandError."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text.strip().lower())
    ahead = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if ahead is None or ahead > LONGEST:
        raise CommandError(
            f"--expires-in {text}: give a number and m, h, d or w, such as 30d; at most {LONGEST.days}d."
        )
    return timezone.now() + ahead
