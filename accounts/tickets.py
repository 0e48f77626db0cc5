"""Tickets: how a program that can't send headers with a WebSocket's handshake, as in a browser, shows its token.

It asks for one over HTTP, with its token, and opens the socket with `?ticket=`. Addresses end up in logs of
proxies, so a ticket is worth nothing there: it works once, and for 30 seconds.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import ApiToken, SocketTicket, digest_of

VALID_FOR = timedelta(seconds=30)


def issue_ticket(token: ApiToken) -> tuple[str, datetime]:
    """A new ticket of this token, and when it ends. Those that ended are removed on the way."""
    SocketTicket.objects.filter(expires_at__lte=Now()).delete()
    ticket, expires_at = secrets.token_urlsafe(32), timezone.now() + VALID_FOR
    SocketTicket.objects.create(digest=digest_of(ticket), token=token, expires_at=expires_at)
    return ticket, expires_at


def redeem_ticket(ticket: str) -> int | None:
    """The id of the token whose ticket this is, or None if it opens nothing (any more). It is spent with that.

    Of two that come with the same ticket, the row's lock lets one find it.
    """
    rows = SocketTicket.objects.raw(
        "DELETE FROM accounts_socketticket WHERE digest = %s RETURNING digest, token_id, expires_at",
        [digest_of(ticket)],
    )
    for row in rows:
        return row.token_id if row.expires_at > timezone.now() else None
    return None
