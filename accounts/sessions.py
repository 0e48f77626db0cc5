"""Sessions of people, by digests of their keys: who sees the database, a dump or a backup can't take one over.

Django's own store writes the keys down as browsers send them. A key is random and long (165 bits), so that nobody
finds it by its digest.
"""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import digest_of

STORED = 40
"""Characters of the digest that Django's column has room for: 160 bits."""


class SessionStore(db.SessionStore):
    """Django's, of which only the methods that ask for a row know another key than the browser's. Its `async` ones,
    which nothing here uses, don't."""

    def _get_session_from_db(self) -> Session | None:
        row = Session.objects.filter(pk=stored(self.session_key or ""), expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(stored(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = stored(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(stored(key))


def stored(session_key: str) -> str:
    """What stands in the database for a key."""
    return digest_of(session_key)[:STORED]
