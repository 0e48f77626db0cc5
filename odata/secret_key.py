"""The key that signs sessions, made once and kept where only the owner can read it."""

from __future__ import annotations

import os

from django.core.management.utils import get_random_secret_key

from odata.embedded.places import Places


def read_or_make_secret_key(places: Places) -> str:
    """The key in home's file `secret_key`; a new one is written (mode 0600) where there is none.

    Two processes that start at once agree: the file appears by a hard link, which only one can make.
    Raises OSError.
    """
    path = places.home / "secret_key"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    places.make_home()
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(get_random_secret_key())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="ascii").strip()
