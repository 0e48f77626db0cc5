"""The keys that are no one's choice: made once and kept where only the owner can read them."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable

from django.core.management.utils import get_random_secret_key

from odata.embedded.places import Places


def read_or_make_secret_key(places: Places) -> str:
    """The key that signs sessions, in home's file `secret_key`. Raises OSError."""
    return read_or_make(places, "secret_key", get_random_secret_key)


def read_or_make_webhook_keys(places: Places) -> str:
    """The keys that encrypt webhook secrets, as `WEBHOOK_SECRET_KEYS` has them, in home's file `webhook_secret_keys`.

    Raises OSError.
    """
    return read_or_make(places, "webhook_secret_keys", make_fernet_key)


def make_fernet_key() -> str:
    """32 random bytes in URL-safe base64: what https://github.com/fernet/spec calls a key."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode("ascii")


def is_fernet_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32
    except ValueError:
        return False


def read_or_make(places: Places, name: str, make: Callable[[], str]) -> str:
    """What home's file of this name holds; where there is none, what `make` gives is written there (mode 0600).

    Two processes that start at once agree: the file appears by a hard link, which only one can make.
    Raises OSError.
    """
    path = places.home / name
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    places.make_home()
    # Not by process id: those of two containers that share the folder are often the same.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii").strip()
