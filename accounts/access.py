"""What a person or a token may do: one rule for each kind of object, all of them here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from rest_framework.permissions import BasePermission

from accounts.models import ApiToken, Scope

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

    from accounts.models import User


PERMISSIONS: dict[str, tuple[str, ...]] = {
    Scope.READ: (),
    Scope.WRITE: ("products.change_product",),
    Scope.IMPORT: ("products.add_import",),
    Scope.WEBHOOKS: ("webhooks.change_webhookendpoint", "webhooks.add_webhookendpoint"),
}
"""For each scope the permissions of which one gives it to a person; reading needs none but being known."""


def scopes_of(user: User | AnonymousUser, token: object) -> frozenset[str]:
    """What a request may do: what the person's permissions say, less what their token, if they use one, does not."""
    return frozenset(scope for scope in _named(token) if _gives(user, scope))


def holds_one_of(user: User | AnonymousUser, token: object, wanted: Iterable[str]) -> bool:
    """Whether `scopes_of` has one of these. Asks for permissions, which is a query, only where it must."""
    cheap_first = sorted(_named(token).intersection(wanted), key=lambda scope: len(PERMISSIONS[scope]))
    return any(_gives(user, scope) for scope in cheap_first)


def _named(token: object) -> set[str]:
    """The scopes a token names; a session names them all."""
    return set(PERMISSIONS).intersection(token.scopes) if isinstance(token, ApiToken) else set(PERMISSIONS)


def _gives(user: User | AnonymousUser, scope: str) -> bool:
    if not user.is_authenticated:
        return False
    permissions = PERMISSIONS[scope]
    return not permissions or any(user.has_perm(permission) for permission in permissions)


def may_see_all_imports(user: User | AnonymousUser) -> bool:
    """Staff with the right to view imports see everybody's; others see their own."""
    return bool(user.is_authenticated and user.has_perm("products.view_import"))


def may_see_all_endpoints(user: User | AnonymousUser) -> bool:
    """Those with the right to view webhook endpoints see everybody's; others see their own."""
    return bool(user.is_authenticated and user.has_perm("webhooks.view_webhookendpoint"))


def may_examine_service(user: User | AnonymousUser) -> bool:
    """Those who may read the audit log may see how the service is set up: superusers, and the role admin."""
    return bool(user.is_authenticated and user.has_perm("accounts.view_auditentry"))


def person(request: Request | HttpRequest) -> User:
    """Who asks. Permissions let nobody through to an action who is not known."""
    return cast("User", request.user)


class HasScope(BasePermission):
    """Lets a request through if it holds a scope that the view asks for.

    A view names its scopes in ``required_scopes``: a dict from action (or, on plain views, lower-case
    method) to the scopes of which one is enough. What is not named there is denied.
    """

    message = "You may not do that."
    code = "permission_denied"

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = (request.method or "").lower()
        if not hasattr(view, method):
            return True  # the view goes on to answer 405, which says more than a 403
        action = getattr(view, "action", None) or method.replace("head", "get")
        wanted = getattr(view, "required_scopes", {}).get(action, ())
        if holds_one_of(request.user, request.auth, wanted):
            return True
        self._say_what_is_missing(request, sorted(map(str, wanted)))
        return False

    def _say_what_is_missing(self, request: Request, wanted: list[str]) -> None:
        if not wanted:
            return
        self.code = "missing_scope"
        scope = " or ".join(f"`{scope}`" for scope in wanted)
        if isinstance(request.auth, ApiToken) and not set(request.auth.scopes).isdisjoint(wanted):
            self.message = (
                f"The account of this token has no right to {scope} (any more), and a token may do no more than its "
                "person. Ask an administrator for it."
            )
        elif isinstance(request.auth, ApiToken):
            self.message = f"This token has no scope {scope}. Issue one that has."
        else:
            self.message = f"Your account may not do that: it has no right to {scope}. Ask an administrator for it."
