"""The second factor: codes of an authenticator (TOTP, RFC 6238), and recovery codes for when it is lost."""

from __future__ import annotations

import segno
from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts.models import User

RECOVERY_CODES = 10


def enrolled(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def begin(user: User) -> TOTPDevice:
    """A new secret, which counts for nothing until a code of it was seen."""
    TOTPDevice.objects.filter(user=user, confirmed=False).delete()
    return TOTPDevice.objects.create(user=user, name="authenticator", confirmed=False)


def waiting(user: User) -> TOTPDevice | None:
    return TOTPDevice.objects.filter(user=user, confirmed=False).first()


def qr_code(device: TOTPDevice) -> str:
    """Its `otpauth://` address as an inline SVG without styles, black on white whatever the colour scheme."""
    return str(
        segno.make(device.config_url, error="m").svg_inline(
            omitsize=True, svgclass="qr", dark="#000", light="#fff", title="QR code"
        )
    )


@transaction.atomic
def confirm(device: TOTPDevice, code: str) -> list[str] | None:
    """Make it count if this is its code. Returns new recovery codes, which are shown once; None if it is not."""
    if not device.verify_token(code.strip()):
        return None
    device.confirmed = True
    device.save()
    StaticDevice.objects.filter(user=device.user).delete()
    backup = StaticDevice.objects.create(user=device.user, name="recovery")
    codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
    backup.token_set.bulk_create([StaticToken(device=backup, token=each) for each in codes])
    return codes


@transaction.atomic
def remove(user: User) -> None:
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
