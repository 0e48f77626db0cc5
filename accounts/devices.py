"""What a second factor is made of: an app on a phone, and recovery codes for when the phone is lost.

django-otp's own devices keep their secrets as plain text: whoever saw a dump of the database could make codes. Here
the app's secret is sealed with keys that are outside of the database, and of recovery codes there are digests alone.
Everything else, such as the wait after a wrong code, is django-otp's, which finds these classes by itself.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from base64 import b32encode
from typing import ClassVar
from urllib.parse import quote, urlencode

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django_otp.models import Device, ThrottlingMixin, TimestampMixin
from django_otp.oath import TOTP

from common.sealing import UnreadableSecretError, seal, unseal

logger = logging.getLogger(__name__)

CODE = re.compile(r"[0-9]{6}")
"""Of an app. What looks otherwise can only be a recovery code: neither device waits for what is meant for the other."""


def new_sealed_key() -> str:
    """160 random bits, as RFC 4226 recommends (section 4, R6)."""
    return seal(secrets.token_hex(20))


class Authenticator(TimestampMixin, ThrottlingMixin, Device):
    """An app that shows a new code every 30 seconds (TOTP, RFC 6238)."""

    STEP: ClassVar[int] = 30
    """Seconds."""
    TOLERANCE: ClassVar[int] = 1
    """Steps that a phone's clock may be off."""

    sealed_key = models.TextField(default=new_sealed_key, editable=False)
    drift = models.SmallIntegerField(default=0, editable=False, help_text="Steps that the phone's clock was off.")
    last_t = models.BigIntegerField(default=-1, editable=False, help_text="Step of the last code: it counts once.")

    @property
    def bin_key(self) -> bytes:
        """The secret. Raises UnreadableSecretError."""
        return bytes.fromhex(unseal(self.sealed_key))

    @property
    def secret(self) -> str:
        """The same as people type it into their phone."""
        return b32encode(self.bin_key).decode()

    @property
    def config_url(self) -> str:
        """What the QR code says (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
        issuer = settings.OTP_TOTP_ISSUER
        label = quote(f"{issuer}:{self.user.get_username()}")
        query = urlencode(
            {"secret": self.secret, "algorithm": "SHA1", "digits": 6, "period": self.STEP, "issuer": issuer},
            quote_via=quote,
        )
        return f"otpauth://totp/{label}?{query}"

    def get_throttle_factor(self) -> int:
        """Seconds to wait after the first wrong code; each further one doubles them."""
        return 1

    def verify_token(self, token: str) -> bool:
        """Whether this is a code of now that was not used before; the next has to be newer."""
        if not CODE.fullmatch(token) or not self.verify_is_allowed()[0]:
            return False
        accepted = self._accepted(token)
        if accepted is None:
            self.throttle_increment()
            return False
        self.last_t, self.drift = accepted.t(), accepted.drift
        self.throttle_reset(commit=False)
        self.set_last_used_timestamp(commit=False)
        self.save()
        return True

    def _accepted(self, token: str) -> TOTP | None:
        try:
            totp = TOTP(self.bin_key, self.STEP, 0, 6, self.drift)
        except UnreadableSecretError as error:  # recovery codes work all the same
            logger.error("second_factor_unreadable: %s", error, extra={"user_id": self.user_id})
            return None
        totp.time = time.time()
        return totp if totp.verify(int(token), self.TOLERANCE, self.last_t + 1) else None


class RecoveryCodes(TimestampMixin, ThrottlingMixin, Device):
    """Codes on paper, each of which works once."""

    digests = ArrayField(models.CharField(max_length=64), editable=False)

    def get_throttle_factor(self) -> int:
        """As for Authenticator."""
        return 1

    def verify_token(self, token: str) -> bool:
        """Whether this is one of the codes that are left. It is used up with that."""
        if CODE.fullmatch(token) or not self.verify_is_allowed()[0]:
            return False
        digest = digest_of_code(token)
        if digest not in self.digests:
            self.throttle_increment()
            return False
        self.digests.remove(digest)
        self.throttle_reset(commit=False)
        self.set_last_used_timestamp(commit=False)
        self.save()
        return True


def new_code() -> str:
    """80 random bits, like `abcd-efgh-ijkl-mnop`: too many to find a code by its digest."""
    text = b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def digest_of_code(code: str) -> str:
    """What is stored of a code, however it was typed."""
    return hashlib.sha256(re.sub(r"[\s-]", "", code).lower().encode()).hexdigest()
