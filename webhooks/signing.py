"""Signatures of Standard Webhooks: what the receiver checks to know that a message is ours and as we sent it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. Signed are the bytes
`id.timestamp.body`, by HMAC-SHA256 (`v1`) or ed25519 (`v1a`). Pure: no database, no settings, no clock.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from operator import index
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.errors import InvalidInputError

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets start with
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = range(24, 64 + 1)
"""How many bytes the specification wants of a secret. Shorter ones sign, but no endpoint is saved with one."""
NEW_SECRET_BYTES = 32


class InvalidSecretError(InvalidInputError):
    """A text is no secret or key to sign with. The message never has the text itself in it."""

    code = "invalid_secret"


class HmacKey:
    """A secret that the receiver knows as well (`whsec_..`)."""

    kind: ClassVar[str] = "v1"
    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def make(cls) -> HmacKey:
        return cls(os.urandom(NEW_SECRET_BYTES))

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self._secret)

    def secret(self) -> str:
        """The text to keep and to give to the receiver."""
        return SECRET_PREFIX + encode(self._secret)

    def sign(self, signed: bytes) -> str:
        return "v1," + encode(hmac.digest(self._secret, signed, "sha256"))

    def __repr__(self) -> str:
        return f"<HmacKey {SECRET_PREFIX}****>"


class Ed25519Key:
    """A key of which the receiver knows the public half only (`whpk_..`); ours is `whsk_..`: seed and public key."""

    kind: ClassVar[str] = "v1a"
    __slots__ = ("_private", "_public")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @classmethod
    def make(cls) -> Ed25519Key:
        return cls(os.urandom(32))

    def secret(self) -> str:
        """The text to keep. Receivers need `public` only."""
        return PRIVATE_PREFIX + encode(self._private.private_bytes_raw() + self._public)

    def public(self) -> str:
        """The text to give to the receiver; no secret."""
        return PUBLIC_PREFIX + encode(self._public)

    def sign(self, signed: bytes) -> str:
        return "v1a," + encode(self._private.sign(signed))

    def __repr__(self) -> str:
        return f"<Ed25519Key {self.public()}>"


SigningKey = HmacKey | Ed25519Key


def sign(keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a message: one signature by each key, in their order, with spaces between.

    `timestamp` is the very number that goes into `webhook-timestamp`, in seconds since 1970. No date and time is
    taken, so that no time zone can come between the two. Raises TypeError for one, ValueError without a key.
    """
    if not keys:
        raise ValueError("There is no key to sign with.")
    signed = f"{message_id}.{index(timestamp)}.".encode() + body
    return " ".join([key.sign(signed) for key in keys])


def headers(keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that go with `body`. Raises as `sign` does."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(index(timestamp)),
        "webhook-signature": sign(keys, message_id, timestamp, body),
    }


def parse_key(secret: str) -> SigningKey:
    """The key that a text `whsec_..` or `whsk_..` stands for. Raises InvalidSecretError."""
    if secret.startswith(SECRET_PREFIX):
        return HmacKey(decode(secret, SECRET_PREFIX))
    if secret.startswith(PRIVATE_PREFIX):
        return parse_private_key(secret)
    raise InvalidSecretError(
        f"The secret must begin with {SECRET_PREFIX} (HMAC-SHA256) or {PRIVATE_PREFIX} (ed25519), and go on in base64."
    )


def parse_private_key(secret: str) -> Ed25519Key:
    """The key of a text `whsk_..`, whose two halves must belong together. Raises InvalidSecretError."""
    both = decode(secret, PRIVATE_PREFIX)
    if len(both) != 64:
        raise InvalidSecretError(
            f"The private key has {len(both)} bytes; {PRIVATE_PREFIX} is followed by the base64 of 64: "
            "the seed (32) and the public key (32)."
        )
    key = Ed25519Key(both[:32])
    if key.secret() != PRIVATE_PREFIX + encode(both):
        raise InvalidSecretError("The two halves of the private key do not belong together: copy it again, as a whole.")
    return key


def check_strength(key: SigningKey) -> None:
    """That a secret is good enough for an endpoint, as the specification has it. Raises InvalidSecretError.

    For when it is saved: what is there already goes on signing.
    """
    if isinstance(key, HmacKey) and key.size not in SECRET_BYTES:
        raise InvalidSecretError(
            f"The secret has {key.size} bytes; it takes {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} random ones, in base64 "
            f"after {SECRET_PREFIX}. Leave it out to get a new one."
        )


def encode(raw: bytes) -> str:
    """Base64 with padding, on one line."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def decode(text: str, prefix: str) -> bytes:
    """The bytes in the base64, padded or not, that follows the prefix. Raises InvalidSecretError."""
    coded = text.removeprefix(prefix).rstrip("=")
    if not coded:
        raise InvalidSecretError(f"Nothing follows {prefix}: the secret is empty.")
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except ValueError:
        raise InvalidSecretError(
            f"What follows {prefix} is not base64 (letters, digits, + and /): copy it again, as a whole."
        ) from None
