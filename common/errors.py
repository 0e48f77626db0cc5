"""What can go wrong, in words for the person who has to put it right.

Core code raises these; `common.problems` turns them into RFC 9457 answers, the admin and the
commands show ``detail``. ``code`` is stable: clients may compare it, and it never changes its
meaning once published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one part of a request. ``pointer`` is a JSON pointer (RFC 6901)."""

    pointer: str
    code: str
    message: str

    def below(self, pointer: str) -> FieldError:
        """The same, where what it is about is a part of something else."""
        return replace(self, pointer=f"{pointer}{self.pointer}")


def pointer_to(name: str) -> str:
    """The JSON pointer to the part of this name (RFC 6901, section 3)."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def in_short(errors: Sequence[FieldError]) -> str:
    """One sentence for what is wrong with some fields; a single one is told in full."""
    return errors[0].message if len(errors) == 1 else f"{len(errors)} fields are not valid: see `errors`."


class ServiceError(Exception):
    """Something expected went wrong. ``detail`` says what, where and how to put it right."""

    status = 500
    code = "internal_error"
    title = "Something went wrong on our side"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = tuple(errors)
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, or None."""


class InvalidInputError(ServiceError):
    """The request can't be understood or breaks a rule."""

    status = 400
    code = "invalid"
    title = "The request is not valid"

    @classmethod
    def about(cls, name: str, message: str, code: str = "invalid_choice") -> InvalidInputError:
        """The same where it is the part of this name that is wrong."""
        return cls(message, errors=[FieldError(pointer_to(name), code, message)])


class NotFoundError(ServiceError):
    """There is no such thing, or it is not yours to see: the two are not told apart."""

    status = 404
    code = "not_found"
    title = "Not found"


class ConflictError(ServiceError):
    """The request does not fit the present state of the thing it is about."""

    status = 409
    code = "conflict"
    title = "Conflict with the present state"


class PreconditionFailedError(ServiceError):
    """The request was meant for another state of the thing (RFC 9110, section 13.1)."""

    status = 412
    code = "precondition_failed"
    title = "It has changed since"


class TooLargeError(ServiceError):
    """The body is larger than this server takes."""

    status = 413
    code = "too_large"
    title = "The body is too large"


class NoSpaceError(ServiceError):
    """The file store has no room for this (RFC 4918, section 11.5)."""

    status = 507
    code = "no_space"
    title = "Not enough storage"


class UnavailableError(ServiceError):
    """A server that we stand on does not answer."""

    status = 503
    code = "unavailable"
    title = "Not available right now"


class StoreUnavailableError(UnavailableError):
    """The file store does not answer."""

    code = "store_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=5)
