"""The second factor: setting it up, confirming and removing it. What it is made of is in `accounts.devices`."""

from __future__ import annotations

import segno
from django.db import transaction

from accounts.devices import Authenticator, RecoveryCodes, digest_of_code, new_code
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
