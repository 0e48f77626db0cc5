"""The second factor: setting it up, confirming and removing it. What it is made of is in `accounts.devices`."""

from __future__ import annotations

import math

import segno
from django.db import transaction
from django.utils import timezone

from accounts.devices import CODE, Authenticator, RecoveryCodes, digest_of_code, new_code
from accounts.models import User

RECOVERY_CODES = 10


def enrolled(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, confirmed=True).exists())


def begin(user: User) -> Authenticator:
    """A new secret, which counts for nothing until a code of it was seen."""
    abandon(user)
    device: Authenticator = Authenticator.objects.create(user=user, name="authenticator", confirmed=False)
    return device


def abandon(user: User) -> None:
    """Forget a secret that was begun; one that counts stays."""
    Authenticator.objects.filter(user=user, confirmed=False).delete()


def waiting(user: User) -> Authenticator | None:
    device: Authenticator | None = Authenticator.objects.filter(user=user, confirmed=False).first()
    return device


def qr_code(device: Authenticator) -> str:
    """Its `otpauth://` address as an inline SVG without styles, black on white whatever the colour scheme."""
    return str(
        segno.make(device.config_url, error="m").svg_inline(
            omitsize=True, svgclass="qr", dark="#000", light="#fff", title="QR code"
        )
    )


def wait_before(user: User, code: str) -> str:
    """Why a code like this one is not looked at now, since wrong ones came before it, in words; empty if it is."""
    seconds = _seconds_to_wait(user, code)
    if not seconds:
        return ""
    return f"After a wrong code the next one has to wait: this one was not looked at. {_wait(seconds)}"


def wrong_code(user: User, code: str) -> str:
    """What is said of a code that was looked at and is wrong."""
    right = "the present code of your authenticator" if CODE.fullmatch(code.strip()) else "one of your recovery codes"
    seconds = _seconds_to_wait(user, code)
    return f"This is not {right}, or was used before: each works once.{' ' + _wait(seconds) if seconds else ''}"


def _wait(seconds: int) -> str:
    number, unit = (seconds, "second") if seconds < 120 else (math.ceil(seconds / 60), "minute")
    return f"Wait {number} {unit}{'s' if number > 1 else ''}, then try again."


def _seconds_to_wait(user: User, code: str) -> int:
    """Until a device looks at a code that looks so. One that was only begun counts where there is no other."""
    kind = Authenticator if CODE.fullmatch(code.strip()) else RecoveryCodes
    waits = []
    for device in kind.objects.filter(user=user).order_by("-confirmed"):
        allowed, why = device.verify_is_allowed()
        left = 0.0 if allowed else (why["locked_until"] - timezone.now()).total_seconds()
        waits.append(max(0, math.ceil(left)))
    return waits[0] if waits else 0


@transaction.atomic
def confirm(device: Authenticator, code: str) -> list[str] | None:
    """Make it count if this is its code. Returns new recovery codes, which are shown once; None if it is not."""
    if not device.verify_token(code.strip()):
        return None
    device.confirmed = True
    device.save()
    RecoveryCodes.objects.filter(user=device.user).delete()
    codes = [new_code() for _ in range(RECOVERY_CODES)]
    RecoveryCodes.objects.create(user=device.user, name="recovery", digests=[digest_of_code(each) for each in codes])
    return codes


@transaction.atomic
def remove(user: User) -> None:
    Authenticator.objects.filter(user=user).delete()
    RecoveryCodes.objects.filter(user=user).delete()
