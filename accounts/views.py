"""Pages for people on their way in, and for what is their own: tokens, the password, the second factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import login as verify_session
from django_otp import match_token

from accounts import audit, second_factor
from accounts.access import scopes_of
from accounts.forms import FirstAdministratorForm, OwnTokenForm
from accounts.models import ApiToken
from accounts.setup import check_setup_token, create_first_administrator


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first administrator and log them in. The errors of `accounts.setup` become pages."""
    check_setup_token(token)
    form = FirstAdministratorForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        status = 400 if form.errors else 200
        return render(request, "accounts/setup.html", {"form": form}, status=status)
    user = create_first_administrator(form.save(commit=False))
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return redirect(settings.LOGIN_REDIRECT_URL)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """One's own tokens, and a new one, whose secret this answer shows and no other does."""
    user: Any = request.user
    form = OwnTokenForm(user, request.POST if request.method == "POST" else None)
    full = ""
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            new = form.instance
            token, full = ApiToken.issue(user, name=new.name, scopes=new.scopes, expires_at=new.expires_at)
            audit.record_request(request, "token.issued", token, name=token.name, scopes=token.scopes)
        form = OwnTokenForm(user)
    held = scopes_of(user, None)
    context = {
        "form": form,
        "tokens": [(token, sorted(set(token.scopes) - held)) for token in ApiToken.objects.filter(user=user)],
        "full": full,
        "url": request.build_absolute_uri("/api/v1/products/"),
    }
    return render(request, "accounts/tokens.html", context, status=400 if form.errors else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@transaction.atomic
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Remove a token of one's own: from the next request on it opens nothing. Who had to log in first comes back by
    GET, and is shown the tokens."""
    if request.method != "POST":
        return redirect("tokens")
    token = get_object_or_404(ApiToken.objects.filter(user=request.user.pk), pk=token_id)
    audit.record_request(request, "token.revoked", token, name=token.name)
    token.delete()
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("tokens")


@never_cache
@sensitive_post_parameters()
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@transaction.atomic
def password(request: HttpRequest) -> HttpResponse:
    """Change one's own password. Sessions elsewhere end with the old one; this one goes on, with a new key."""
    user: Any = request.user
    form = PasswordChangeForm(user, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        with audit.acting(request):
            update_session_auth_hash(request, form.save())
        messages.success(request, "Your password is changed. Where else you were logged in, you are not any more.")
        return redirect("password")
    return render(request, "accounts/password.html", {"form": form}, status=400 if form.errors else 200)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@transaction.atomic
def two_factor(request: HttpRequest) -> HttpResponse:
    """Set the second factor up, or remove it: by the button that was pressed."""
    user: Any = request.user
    press = BUTTONS.get(request.POST.get("act", ""))
    said = press(request, user) if press else Said()
    enrolled = second_factor.enrolled(user)
    device = None if enrolled else second_factor.waiting(user)
    context = {
        "enrolled": enrolled,
        "required": settings.REQUIRE_SECOND_FACTOR_FOR_STAFF and user.is_staff,
        "device": device,
        "qr": mark_safe(second_factor.qr_code(device)) if device else "",  # noqa: S308 (segno escapes)
        "secret": device.secret if device else "",
        "codes": said.codes,
        "problem": said.problem,
    }
    return render(request, "accounts/two_factor.html", context, status=400 if said.problem else 200)


@dataclass(frozen=True)
class Said:
    """What came of a button of that page."""

    problem: str = ""
    codes: list[str] | None = None
    """New recovery codes, shown this once."""


def _begin(request: HttpRequest, user: Any) -> Said:
    if not second_factor.enrolled(user):
        second_factor.begin(user)
    return Said()


def _abandon(request: HttpRequest, user: Any) -> Said:
    second_factor.abandon(user)
    return Said()


def _confirm(request: HttpRequest, user: Any) -> Said:
    device = second_factor.waiting(user)
    if device is None or second_factor.enrolled(user):
        return Said()
    code = request.POST.get("code", "")
    if wait := second_factor.wait_before(user, code):
        return Said(wait)
    codes = second_factor.confirm(device, code)
    if codes is None:
        return Said(f"{second_factor.wrong_code(user, code)} Is the clock of your phone right?")
    verify_session(request, device)
    audit.record_request(request, "second_factor.set_up", user)
    return Said(codes=codes)


def _remove(request: HttpRequest, user: Any) -> Said:
    code = request.POST.get("code", "")
    if wait := second_factor.wait_before(user, code):
        return Said(wait)
    if match_token(user, code.strip()) is None:
        return Said(second_factor.wrong_code(user, code))
    second_factor.remove(user)
    audit.record_request(request, "second_factor.removed", user)
    return Said()


BUTTONS: dict[str, Callable[[HttpRequest, Any], Said]] = {
    "begin": _begin,
    "abandon": _abandon,
    "confirm": _confirm,
    "remove": _remove,
}
