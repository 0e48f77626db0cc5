"""What an exception means to the one who sent the request: one table from exceptions to problems.

Knows nothing of how a problem is written down; that is `common.problems`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from django.core import exceptions as django
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf

from common.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NoSpaceError,
    NotFoundError,
    ServiceError,
    TooLargeError,
    UnavailableError,
    pointer_to,
)

log = structlog.get_logger(__name__)

NOTHING_HERE = "There is nothing at this address, or it is not yours to see."
NOT_ALLOWED = "You may not do that. Ask an administrator for the permission."
OUR_FAULT = "Something went wrong on our side; it has been logged. Name the request id if you ask for help."

BUSY_CODES = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available: lock_timeout
    "57014",  # query_canceled: statement_timeout
}
UNAVAILABLE_CLASSES = {
    "08",  # connection exception
    "53",  # insufficient resources: too many connections, out of memory
    "57",  # operator intervention: shutting down, starting up
    "58",  # system error outside PostgreSQL
}
DISK_FULL = "53100"
RETRY_BUSY = 2
RETRY_UNAVAILABLE = 5


@dataclass(frozen=True)
class Problem:
    """One error answer: the members of RFC 9457, section 3.1, and ours."""

    status: int
    code: str
    title: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """Further members of the body (RFC 9457, section 3.2)."""

    @classmethod
    def of(cls, error: ServiceError) -> Problem:
        """The problem that `error` describes."""
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return cls(error.status, error.code, error.title, error.detail, error.errors, headers)

    @classmethod
    def plain(cls, status: int, code: str, detail: str) -> Problem:
        """A problem whose title is the name of its status."""
        return cls(status, code, HTTPStatus(status).phrase, detail)


SERVER_ERROR = Problem(500, ServiceError.code, ServiceError.title, OUR_FAULT)


def explain(exc: BaseException) -> Problem | None:
    """What `exc` means to the client, or None for a bug of ours, which is the server error's business."""
    if isinstance(exc, ServiceError):
        return Problem.of(exc)
    if isinstance(exc, drf.APIException):
        return _of_rest_framework(exc)
    error = _of_django(exc) or _of_database(exc) or _of_system(exc)
    return Problem.of(error) if isinstance(error, ServiceError) else error


# --- Django REST framework ---------------------------------------------------------------------


def _of_rest_framework(exc: drf.APIException) -> Problem:
    headers = {}
    if getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = str(exc.auth_header)  # type: ignore[attr-defined]
    if getattr(exc, "wait", None):
        headers["Retry-After"] = str(max(1, round(exc.wait)))  # type: ignore[attr-defined]
    if isinstance(exc, drf.ValidationError):
        errors = tuple(_field_errors(exc.detail))
        return Problem(exc.status_code, "invalid", InvalidInputError.title, _sum_up(errors), errors, headers)
    code = exc.get_codes()
    return Problem(
        status=exc.status_code,
        code=code if isinstance(code, str) else exc.default_code,
        title=HTTPStatus(exc.status_code).phrase,
        detail=_sentence(exc),
        headers=headers,
    )


def _sentence(exc: drf.APIException) -> str:
    """The exception's own words, or ours where its are too bare to help."""
    if isinstance(exc, drf.NotFound) and str(exc.detail) == str(drf.NotFound.default_detail):
        return NOTHING_HERE
    if isinstance(exc, drf.NotAuthenticated):
        return "Say who you are: send `Authorization: Bearer <token>`, or log in."
    if isinstance(exc, drf.NotAcceptable):
        return "No answer can be given in the type that the Accept header asks for. Ask for application/json."
    if isinstance(exc, drf.UnsupportedMediaType) and str(exc.detail).startswith("Unsupported media type"):
        return f"{exc.detail} Say in the header Content-Type what the body is: `application/json` for JSON."
    return str(exc.detail)


def _field_errors(detail: Any, pointer: str = "") -> Iterator[FieldError]:
    """Flatten DRF's nested errors; each gets the JSON pointer of the value it is about (RFC 6901)."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            whole = name == "non_field_errors"
            yield from _field_errors(inner, pointer if whole else pointer + pointer_to(str(name)))
    elif isinstance(detail, list | tuple):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            yield from _field_errors(inner, f"{pointer}/{index}" if nested else pointer)
    else:
        yield FieldError(pointer, getattr(detail, "code", None) or "invalid", str(detail))


def _sum_up(errors: tuple[FieldError, ...]) -> str:
    """One sentence for all errors; a single one is told in full."""
    if len(errors) != 1:
        return f"{len(errors)} values are not valid: see `errors`."
    only = errors[0]
    return f"{only.pointer[1:]}: {only.message}" if only.pointer else only.message


# --- Django ------------------------------------------------------------------------------------


def _of_django(exc: BaseException) -> ServiceError | Problem | None:
    if isinstance(exc, Http404):
        return NotFoundError(NOTHING_HERE)
    if isinstance(exc, django.PermissionDenied):
        return Problem.plain(403, "permission_denied", str(exc) or NOT_ALLOWED)
    if isinstance(exc, django.ValidationError):
        errors = tuple(_field_errors(drf_detail(exc)))
        return InvalidInputError(_sum_up(errors), errors=errors)
    if isinstance(exc, django.RequestDataTooBig | django.TooManyFilesSent | django.TooManyFieldsSent):
        return TooLargeError("The body is larger, or has more parts, than this address takes.")
    if isinstance(exc, django.DisallowedHost):
        return InvalidInputError(
            "This service does not answer to that host name. Whoever runs it can add it to ALLOWED_HOSTS.",
            code="unknown_host",
        )
    if isinstance(exc, django.SuspiciousOperation | django.BadRequest | MultiPartParserError):
        return InvalidInputError("The request can't be read: it is malformed.", code="bad_request")
    if isinstance(exc, UnreadablePostError):
        return InvalidInputError("The body ended before it was complete. Send it again.", code="body_incomplete")
    return None


def drf_detail(exc: django.ValidationError) -> Any:
    """A Django ValidationError in the nesting that DRF uses, codes included."""
    detail = drf.ValidationError  # for its list of ErrorDetail
    if hasattr(exc, "error_dict"):
        return {
            "non_field_errors" if name == django.NON_FIELD_ERRORS else name: drf_detail(django.ValidationError(errors))
            for name, errors in exc.error_dict.items()
        }
    return [detail(error.messages, code=error.code or "invalid").detail[0] for error in exc.error_list]  # type: ignore[index]


# --- PostgreSQL --------------------------------------------------------------------------------


def _of_database(exc: BaseException) -> ServiceError | None:
    if not isinstance(exc, DatabaseError | InterfaceError | psycopg.Error):
        return None
    state = _sqlstate(exc)
    error = _of_server_trouble(exc, state) or _of_bad_value(exc)
    if error:
        log.warning("database_refused", sqlstate=state, code=error.code, error=str(exc).strip())
    return error


def _sqlstate(exc: BaseException) -> str | None:
    """PostgreSQL's code of what happened; Django hangs the driver's exception on as the cause."""
    return getattr(exc, "sqlstate", None) or getattr(exc.__cause__, "sqlstate", None)


def _of_server_trouble(exc: BaseException, state: str | None) -> ServiceError | None:
    if state == DISK_FULL:
        return NoSpaceError("The database has no room left. Whoever runs this service has to make some.")
    if state in BUSY_CODES:
        return UnavailableError(
            "Other work held this up for too long, and it was given up; nothing was changed. Try again.",
            code="busy",
            retry_after=RETRY_BUSY,
        )
    if is_database_away(exc):
        return UnavailableError("The database does not answer. Try again.", retry_after=RETRY_UNAVAILABLE)
    return None


def is_database_away(exc: BaseException) -> bool:
    """Whether the server can't be reached, or has ended the session, rather than refused a statement."""
    state = _sqlstate(exc)
    lost = isinstance(
        exc, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError
    )  # psycopg_pool's PoolTimeout is one of them
    return lost and state not in BUSY_CODES and (state is None or state[:2] in UNAVAILABLE_CLASSES)


def _of_bad_value(exc: BaseException) -> ServiceError | None:
    if isinstance(exc, DataError | psycopg.DataError):
        return InvalidInputError(
            "A value can't be stored: text must not hold NUL characters, and numbers must fit their field."
        )
    if isinstance(exc, IntegrityError | psycopg.IntegrityError):
        return ConflictError("It collides with something that is stored already. Read it again, then try again.")
    return None


# --- the rest ----------------------------------------------------------------------------------


def _of_system(exc: BaseException) -> ServiceError | None:
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("The server has no room left for this. Whoever runs it has to make some.")
    if isinstance(exc, UnicodeEncodeError) and "surrogates" in exc.reason:
        return InvalidInputError(
            "A text holds half of a surrogate pair, which is no character (RFC 8259, section 8.2)."
        )
    return None
