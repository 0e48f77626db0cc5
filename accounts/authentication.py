"""Who is asking: a program with a token, or a person with a session."""

from __future__ import annotations

import re
import time
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS

from accounts.models import ApiToken, User, digest_of
from common.queries import Statement

if TYPE_CHECKING:
    from rest_framework.request import Request

TOKEN_SHAPE = re.compile(rf"{ApiToken.PREFIX}_([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")
KNOWN_FOR = 0.5
"""Seconds in which requests that only read spare PostgreSQL the look at a token it has just shown. All that changes
something looks again. So a token that is revoked elsewhere is refused within a second, and here at once."""
MOST_KNOWN = 1000
USE_NOTED_EVERY = timedelta(minutes=1)
"""`last_used_at` tells forgotten tokens from living ones; to the second is not worth a write per request."""


def authenticate_token(full: str, *, known_will_do: bool = False) -> ApiToken | None:
    """The token that this full string is, with its user, or None if it opens nothing (any more).

    Where a known one will do, it is as it was up to KNOWN_FOR seconds ago.
    """
    digest = digest_of(full)
    row = _known(digest) if known_will_do else None
    if row is not None:
        token = _with_user(row)
        return None if token.expired else token
    row = _find(full)
    if row is None:
        return None
    token = _with_user(row)
    if token.expired:
        return None
    _note_use(token)
    if len(_lately) >= MOST_KNOWN:
        _lately.clear()
    _lately[digest] = (time.monotonic() + KNOWN_FOR, row)
    return token


_lately: dict[str, tuple[float, tuple[Any, ...]]] = {}
"""Tokens that were found, as rows of `_BY_KEY`, and until when these will do; by the digests of their strings."""


def _known(digest: str) -> tuple[Any, ...] | None:
    until, row = _lately.get(digest, (0.0, None))
    return row if time.monotonic() < until else None


@receiver([post_save, post_delete], sender=ApiToken)
@receiver([post_save, post_delete], sender=User)
def look_again(sender: Any, **_: Any) -> None:
    """A token or a person has changed: what is known of them will do no more, nor what others read until the commit."""
    _lately.clear()
    transaction.on_commit(_lately.clear)


def living_token(token_id: int | None) -> ApiToken | None:
    """The token of this id, with its user, or None if it has been revoked, has expired, or its user is off."""
    if token_id is None:
        return None
    token = ApiToken.objects.select_related("user").filter(pk=token_id, user__is_active=True).first()
    return None if token is None or token.expired else token


def _find(full: str) -> tuple[Any, ...] | None:
    """The row of the token of this string, expired or not, if its secret is right and its user active."""
    shape = TOKEN_SHAPE.fullmatch(full)
    if shape is None:
        return None
    key_id, secret = shape.groups()
    for row in _BY_KEY.rows(key_id):
        token = _with_user(row)
        if token.matches(secret) and token.user.is_active:
            return row
    return None


_BY_KEY = Statement(lambda key_id: ApiToken.objects.select_related("user").filter(key_id=key_id).order_by(), "key")


def _with_user(row: tuple[Any, ...]) -> ApiToken:
    """The token of a row of `_BY_KEY`: its columns, then those of its user."""
    token = ApiToken.from_db(DEFAULT_DB_ALIAS, _OF_TOKEN, row[: len(_OF_TOKEN)])
    token.user = User.from_db(DEFAULT_DB_ALIAS, _OF_USER, row[len(_OF_TOKEN) :])
    return token


_OF_TOKEN = [field.attname for field in ApiToken._meta.concrete_fields]
_OF_USER = [field.attname for field in User._meta.concrete_fields]


def _note_use(token: ApiToken) -> None:
    """Set `last_used_at`, at most once in USE_NOTED_EVERY whoever else uses it at this moment."""
    noted = token.last_used_at
    if noted is not None and timezone.now() - noted < USE_NOTED_EVERY:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=Now())


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <token>` (RFC 6750). `request.auth` is the ApiToken."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's user and the token; None if the request brings no bearer token.

        A wrong token is refused even where a session would do: a program is told, never quietly
        let in as somebody else.
        """
        scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != self.keyword.lower():
            return None
        full = credentials.strip()
        token = authenticate_token(full, known_will_do=request.method in SAFE_METHODS)
        if token is not None:
            return token.user, token
        if _find(full) is not None:
            raise AuthenticationFailed("This token has expired. Ask for a new one.", code="token_expired")
        raise AuthenticationFailed(
            "This token is not valid. Send `Authorization: Bearer odata_<id>_<secret>` as it was shown when it "
            "was issued; it may have been revoked since.",
            code="invalid_token",
        )

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401; being here makes it one, for requests of browsers too."""
        return f'{self.keyword} realm="OData Backend"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The session of a person who has logged in, whose writes carry the CSRF token in a header."""

    def enforce_csrf(self, request: Request) -> None:
        """Raise PermissionDenied for a write without the `X-CSRFToken` header."""
        # Django would look for the token in a POST's form first, and so read a whole upload
        # before anybody has said that it may be read. For every other method it reads the header.
        header_only = copy(request._request)
        header_only.method = "PUT" if request.method == "POST" else request.method
        check = authentication.CSRFCheck(_no_view)
        check.process_request(header_only)
        if check.process_view(header_only, _no_view, (), {}):
            raise PermissionDenied(
                "A session may write only with the X-CSRFToken header, from one of our own pages. "
                "Programs use a token instead: `Authorization: Bearer <token>`.",
                code="csrf_failed",
            )


def _no_view(request: HttpRequest) -> HttpResponse:
    """Stands for the view in Django's CSRF check, which only looks whether it is exempt."""
    return HttpResponse()


class BearerScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document declares BearerAuthentication."""

    target_class = "accounts.authentication.BearerAuthentication"
    name = "bearerAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": f"{ApiToken.PREFIX}_<id>_<secret>",
            "description": "Made by `manage.py issue_token`, or under API tokens in the admin.",
        }


class SessionScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI document declares SessionAuthentication."""

    target_class = "accounts.authentication.SessionAuthentication"
    name = "cookieAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The session of a logged-in person. Writes also need the X-CSRFToken header.",
        }
