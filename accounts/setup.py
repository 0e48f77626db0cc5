"""The first administrator: made through a link that works once, or from the environment.

There is no default password. The link needs no row of its own: it is a signed date, and what makes
it work only once is that it works only while there is no administrator at all.
"""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.password_validation import validate_password
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.urls import reverse

from accounts.models import User
from common.errors import ConflictError, InvalidInputError, NotFoundError

SIGNER = signing.TimestampSigner(salt="accounts.setup")
PURPOSE = "first-administrator"
VALID_FOR = timedelta(hours=24)
LOCK = 0x6F64617461  # "odata": the key of the advisory lock, the same in every process


def administrator_exists() -> bool:
    """Whether anybody can administer this service."""
    return User.objects.filter(is_superuser=True).exists()


def setup_link(base_url: str) -> str | None:
    """The address at which the first administrator is made, or None if there is one already.

    `base_url` is where browsers find the service, such as `http://localhost:8000`.
    """
    if administrator_exists():
        return None
    return base_url.rstrip("/") + reverse("setup", args=[SIGNER.sign(PURPOSE)])


def check_setup_token(token: str) -> None:
    """Raise NotFoundError, in words for the one who followed the link, unless it works now."""
    try:
        genuine = SIGNER.unsign(token, max_age=VALID_FOR) == PURPOSE
    except signing.SignatureExpired:
        raise NotFoundError(
            "This set-up link has expired. Restart the service: it prints a new one.", code="setup_link_expired"
        ) from None
    except signing.BadSignature:
        genuine = False
    if not genuine:
        raise NotFoundError("This set-up link is not complete. Copy it as it was printed.", code="setup_link_invalid")
    if administrator_exists():
        raise NotFoundError("This set-up link has been used: there is an administrator.", code="setup_link_used")


@transaction.atomic
def create_first_administrator(user: User) -> User:
    """Save `user` as an administrator. Raises ConflictError if there is one, also if only just now."""
    with connection.cursor() as cursor:
        # Two people with the same link wait for each other here, and the second sees the first.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    if administrator_exists():
        raise ConflictError("There is an administrator already: log in, or ask them.", code="setup_link_used")
    user.is_staff = user.is_superuser = True
    user.save()
    return user


def ensure_admin(username: str, password: str) -> bool:
    """Make this administrator unless there is one. True if it was made.

    Raises InvalidInputError for a name or a password that may not be used; both are only looked at
    while they matter, so that an old setting never stops a start.
    """
    if administrator_exists():
        return False
    user = User(username=User.normalize_username(username))
    try:
        validate_password(password, user)
        user.set_password(password)
        user.full_clean()
    except ValidationError as error:
        raise InvalidInputError(f"The administrator can't be made: {' '.join(error.messages)}") from None
    try:
        create_first_administrator(user)
    except ConflictError:
        return False
    return True
