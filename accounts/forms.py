"""Forms for people: the first administrator, and a new token."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm, UsernameField
from django_otp import match_token, user_has_device

from accounts.access import scopes_of
from accounts.models import ApiToken, Scope, User


class FirstAdministratorForm(UserCreationForm):
    """A name and a password, twice. Saving it is `accounts.setup`'s business."""

    class Meta:
        model = User
        fields = ("username",)
        field_classes = {"username": UsernameField}


class TokenForm(forms.ModelForm):
    """A new token: whose, what for, and for how long."""

    asker: User
    """Who fills it in; the admin sets it."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each stands alone: give what the program needs, and no more.",
    )

    class Meta:
        model = ApiToken
        fields = ("user", "name", "scopes", "expires_at")

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

    def clean_expires_at(self) -> Any:
        """A token that is dead from the start is a mistake."""
        token = ApiToken(expires_at=self.cleaned_data["expires_at"])
        if token.expired:
            raise forms.ValidationError("This lies in the past.", code="past")
        return token.expires_at


class OwnTokenForm(TokenForm):
    """A new token of one's own, for what one may do."""

    def __init__(self, asker: User, data: Any = None) -> None:
        super().__init__(data)
        self.asker = asker
        held = scopes_of(asker, None)
        self.fields["expires_at"].help_text = "In UTC. Empty: it does not expire."
        self.fields["scopes"].choices = [choice for choice in Scope.choices if choice[0] in held]  # type: ignore[attr-defined]

    class Meta:
        model = ApiToken
        fields = ("name", "scopes", "expires_at")
        widgets = {"expires_at": forms.DateTimeInput(attrs={"type": "datetime-local"})}


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
            user.otp_device = match_token(user, code) if code else None  # no code is no guess
            if user.otp_device is None:
                raise forms.ValidationError(
                    "This needs the present code of your second factor. After a wrong one, wait a moment.",
                    code="second_factor",
                )
        return cleaned
