"""Secrets at rest: in the database they are encrypted, and the keys to that are elsewhere.

Fernet (AES-128-CBC and HMAC-SHA256) under a ring of keys, the setting `WEBHOOK_SECRET_KEYS`: the first encrypts, all
decrypt. It guards the secrets of webhooks, which it is named after, and of second factors. To change the key, put a
new one in front, and then `manage.py rekey_webhook_secrets`.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from common.errors import ServiceError


class UnreadableSecretError(ServiceError):
    """What is in the database was encrypted with a key that is not in the ring."""

    code = "webhook_secret_unreadable"
    title = "A secret can't be decrypted"

    def __init__(self) -> None:
        super().__init__(
            "A secret in the database can't be decrypted with any key in WEBHOOK_SECRET_KEYS: add the key it was "
            "encrypted with to the end of that list, or give the webhook endpoint a new secret."
        )


def seal(text: str) -> str:
    """`text`, encrypted with the ring's first key."""
    return _ring(tuple(settings.WEBHOOK_SECRET_KEYS)).encrypt(text.encode()).decode("ascii")


def unseal(sealed: str) -> str:
    """What `seal` was given. Raises UnreadableSecretError."""
    try:
        return _ring(tuple(settings.WEBHOOK_SECRET_KEYS)).decrypt(sealed).decode()
    except InvalidToken:
        raise UnreadableSecretError from None


def reseal(sealed: str) -> str:
    """The same secret, encrypted with the ring's first key. Raises UnreadableSecretError."""
    return seal(unseal(sealed))


def is_fresh(sealed: str) -> bool:
    """Whether it was encrypted with the ring's first key, so that `reseal` would change nothing that matters."""
    try:
        _ring(tuple(settings.WEBHOOK_SECRET_KEYS[:1])).decrypt(sealed)
    except InvalidToken:
        return False
    return True


@lru_cache(maxsize=8)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
