"""Forms for people: the first administrator, and a new token."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm, UsernameField
from django.utils import timezone
from django_otp import match_token, user_has_device

from accounts import second_factor
from accounts.access import scopes_of
from accounts.models import ApiToken, Scope, User


class FirstAdministratorForm(UserCreationForm):
    """A name and a password, twice. Saving it is `accounts.setup`'s business."""

    class Meta:
        model = User
        fields = ("username",)
        field_classes = {"username": UsernameField}


UNTIL_DAY = "day"
LIFETIMES = {
    "": "until it is revoked",
    "1": "a day",
    "7": "7 days",
    "30": "30 days",
    "90": "90 days",
    "365": "a year",
    UNTIL_DAY: "until the day below",
}
"""How long a token works: days, but for the first and the last."""


class TokenForm(forms.ModelForm):
    """A new token: whose, what for, and for how long. Nobody has to reckon with time zones for that."""

    asker: User
    """Who fills it in; the admin sets it."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each stands alone: give what the program needs, and no more.",
    )

    works_for = forms.ChoiceField(choices=list(LIFETIMES.items()), required=False)
    last_day = forms.DateField(
        required=False,
        help_text="Of a token that works until a day: it works to the end of it, which is midnight UTC.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    class Meta:
        model = ApiToken
        fields = ("user", "name", "scopes")

    def clean_user(self) -> User:
        """Only a superuser may make tokens for others: a token acts as its user."""
        user: User = self.cleaned_data["user"]
        if user != self.asker and not self.asker.is_superuser:
            raise forms.ValidationError("You can make tokens for yourself alone.", code="not_yours")
        return user

    def clean_scopes(self) -> list[str]:
        """Nobody hands out more than its user holds; it would not work."""
        scopes: list[str] = self.cleaned_data["scopes"]
        owner: User = self.cleaned_data.get("user", self.asker)
        beyond = sorted(set(scopes) - scopes_of(owner, None))
        if beyond:
            who = "Your account" if owner == self.asker else owner.get_username()
            raise forms.ValidationError(f"{who} does not hold: {', '.join(beyond)}.", code="beyond_yours")
        return scopes

    def clean(self) -> dict[str, Any]:
        """When it expires. A token that is dead from the start is a mistake, and so is a day that would not count."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        lifetime, last_day = cleaned.get("works_for", ""), cleaned.get("last_day")
        if lifetime.isdigit():
            self.instance.expires_at = timezone.now() + timedelta(days=int(lifetime))
        if last_day and lifetime != UNTIL_DAY:
            self.add_error("last_day", f"You chose “{LIFETIMES[lifetime]}” as well. Empty this, or choose the day.")
        elif last_day:
            self.instance.expires_at = datetime.combine(last_day + timedelta(days=1), time.min, UTC)
            if self.instance.expired:
                self.add_error("last_day", "This lies in the past.")
        elif lifetime == UNTIL_DAY and "last_day" not in self.errors:
            self.add_error("last_day", "Say until which day it is to work.")
        return cleaned


class OwnTokenForm(TokenForm):
    """A new token of one's own, for what one may do."""

    def __init__(self, asker: User, data: Any = None) -> None:
        super().__init__(data)
        self.asker = asker
        held = scopes_of(asker, None)
        self.fields["scopes"].choices = [choice for choice in Scope.choices if choice[0] in held]  # type: ignore[attr-defined]

    class Meta:
        model = ApiToken
        fields = ("name", "scopes")


class LoginForm(AuthenticationForm):
    """Name, password and, of those who have one, the code of the second factor.

    Nobody is logged in before both are right, so that no session exists which knows only one of them.
    """

    code = forms.CharField(
        required=False,
        max_length=32,
        label="Code",
        help_text="Of your second factor, or a recovery code. Leave it empty if you have none.",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def clean(self) -> dict[str, Any]:
        """Raise ValidationError unless password and code are right; after a wrong code the next has to wait."""
        cleaned = super().clean()
        user: Any = self.get_user()  # django-otp hangs the device on it
        if user is not None and user_has_device(user):
            code = cleaned.get("code", "").strip()
            if not code:  # which is no guess
                raise forms.ValidationError(
                    "This needs the present code of your second factor, beside the password.", code="second_factor"
                )
            if wait := second_factor.wait_before(user, code):
                raise forms.ValidationError(wait, code="second_factor_wait")
            user.otp_device = match_token(user, code)
            if user.otp_device is None:
                raise forms.ValidationError(second_factor.wrong_code(user, code), code="second_factor")
        return cleaned
