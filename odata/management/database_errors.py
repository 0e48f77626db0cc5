"""What a command says where PostgreSQL gets in its way: a sentence for who gave it, rather than a traceback."""

from __future__ import annotations

import psycopg
from django.conf import settings
from django.db import Error
from psycopg import errors

UNMIGRATED = (errors.UndefinedTable, errors.UndefinedColumn)
HELD = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected)
REFUSED = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)


def explained(error: Exception) -> str | None:
    """What went wrong, and what to do; None where it is nothing that an operator could put right."""
    cause = error.__cause__ if isinstance(error, Error) else error
    if not isinstance(cause, psycopg.Error):
        return None
    words = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
    if isinstance(cause, UNMIGRATED):
        return (
            f"The database is not that of this version ({words}): run manage.py migrate, and see whether DATABASE_URL "
            "is that of the service."
        )
    if isinstance(cause, HELD):
        return f"PostgreSQL gave up: {words}. Something else is at it, such as an import; give the command again."
    if isinstance(cause, REFUSED):
        return f"PostgreSQL refuses this to the user of DATABASE_URL: {words}."
    if isinstance(cause, psycopg.OperationalError):
        place = "the embedded one: start it with manage.py up" if settings.EMBEDDED_POSTGRES else "see DATABASE_URL"
        return f"PostgreSQL can't be reached, or went away: {words}. Start or reach the server ({place})."
    return None
