"""People with the rights that tests need, and tokens of theirs."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import Permission

from accounts.access import PERMISSIONS
from accounts.models import ApiToken, User


def entitle(user: User, *scopes: str) -> User:
    """Give this person what these scopes take, as an administrator would."""
    for scope in scopes:
        for permission in PERMISSIONS.get(scope, ())[:1]:
            app, codename = permission.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    for cache in ("_perm_cache", "_user_perm_cache"):  # of this object; the next request has one of its own
        user.__dict__.pop(cache, None)
    return user


def token_of(user: User, *scopes: str, name: str = "test", expires_at: datetime | None = None) -> tuple[ApiToken, str]:
    """A token for these scopes, of a person who has the right to them, with its full string."""
    return ApiToken.issue(entitle(user, *scopes), name=name, scopes=list(scopes), expires_at=expires_at)
