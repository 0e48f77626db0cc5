"""Who did what, beside the history of products: sign-ins, tokens, roles, exports, imports.

An entry is written in the caller's transaction: what was rolled back was not done, and is not in here.
Never put a secret or the contents of a file into the details.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import AuditEntry
from common import request_ids
from common.client_ip import client_ip
from common.stopping import stopping

PRUNED_AT_A_TIME = 10_000
"""Old entries that are removed in one transaction."""
DELETE_BATCH = """
    DELETE FROM accounts_auditentry
     WHERE id IN (SELECT id FROM accounts_auditentry WHERE at < %s ORDER BY id LIMIT %s)
"""
"""The oldest come first, by the key, which `at` follows."""

EACH_ACTION = """
    WITH RECURSIVE found AS (
        (SELECT action FROM accounts_auditentry ORDER BY action LIMIT 1)
        UNION ALL
        SELECT (SELECT action FROM accounts_auditentry WHERE action > found.action ORDER BY action LIMIT 1)
          FROM found WHERE found.action IS NOT NULL
    )
    SELECT action FROM found WHERE action IS NOT NULL
"""
"""One look into the index for each; DISTINCT would read all entries."""

_acting: ContextVar[HttpRequest | None] = ContextVar("acting", default=None)


@contextmanager
def acting(request: HttpRequest) -> Iterator[None]:
    """In here, what the audit log hears from signals, which know of no request, was done by who sent this one."""
    reset = _acting.set(request)
    try:
        yield
    finally:
        _acting.reset(reset)


def record_heard(action: str, object: Model, details: dict[str, Any]) -> AuditEntry:  # noqa: A002
    """Note what a signal told of: done by who is `acting`, or by nobody known, such as a command."""
    request = _acting.get()
    return record_request(request, action, object, **details) if request else record(None, action, object, details)


def somebody_acts() -> bool:
    return _acting.get() is not None


def record(
    actor: Any,
    action: str,
    object: Model | str | None = None,  # noqa: A002 (the word of the audit log)
    details: dict[str, Any] | None = None,
    request_id: str | None = None,
    ip: str | None = None,
) -> AuditEntry:
    """Note that `actor` (a User, or None for nobody known) did `action`, a past fact such as `token.issued`.

    Call it where the thing is done, in the same transaction, as with
    ``audit.record(user, "webhook.created", endpoint, {"url": endpoint.url})``.
    `request_id` is, when not given, the one of the request being answered.
    """
    known = actor is not None and actor.pk is not None
    return AuditEntry.objects.create(
        actor_id=actor.pk if known else None,
        actor_name=actor.get_username() if known else "",
        action=action,
        object_type=object._meta.label if isinstance(object, Model) else "",
        object_id=str(object.pk) if isinstance(object, Model) else (object or ""),
        details=details or {},
        request_id=request_id or request_ids.current(),
        ip=ip,
    )


def record_request(request: HttpRequest, action: str, object: Model | str | None = None, **details: Any) -> AuditEntry:  # noqa: A002
    """The same for the person who sent this request."""
    return record(request.user, action, object, details, ip=client_ip(request))


def actions() -> list[str]:
    """All that was ever done, each once."""
    with connection.cursor() as cursor:
        cursor.execute(EACH_ACTION)
        return [action for (action,) in cursor.fetchall()]


def prune(days: int) -> int:
    """Remove the entries that are older than so many days, some at a time; returns how many. Each batch is noted in
    the transaction that removes it, so that wherever this ends, nothing is gone unnoted."""
    before = timezone.now() - timedelta(days=days)
    removed, last = 0, PRUNED_AT_A_TIME
    while last == PRUNED_AT_A_TIME and not stopping():
        last = _prune_batch(before, days)
        removed += last
    return removed


@transaction.atomic
def _prune_batch(before: datetime, days: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL odata.prune_audit = 'on'")
        cursor.execute(DELETE_BATCH, [before, PRUNED_AT_A_TIME])
        removed: int = cursor.rowcount
        cursor.execute("SET LOCAL odata.prune_audit = 'off'")
    if removed:
        record(None, "audit.pruned", details={"older_than_days": days, "entries": removed})
    return removed
