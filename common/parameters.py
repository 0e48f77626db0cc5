"""The query parameters of an address: unknown ones are refused, known ones read."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from common.errors import FieldError, InvalidInputError, pointer_to

if TYPE_CHECKING:
    from rest_framework.views import APIView

PLACEHOLDER = ".NAME"
"""Ends the names of parameters such as `attributes.NAME`, where any name may stand."""


class KnownParameters(BasePermission):
    """Lets no request through whose address holds a parameter that the OpenAPI document does not name, or one twice: a
    mistyped filter must not look like one that found everything, nor the last of two like both. One rule for every
    operation of every view."""

    known: ClassVar[dict[tuple[type[APIView], str, str], set[str]]] = {}
    """What each operation takes, once somebody has asked: by view, action and method."""
    asking: ClassVar[threading.Lock] = threading.Lock()
    """drf-spectacular finds its extensions at the first question, and fails if two threads ask it at a time."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """True. Raises InvalidInputError."""
        method = request.method or ""
        if not request.query_params or method == "OPTIONS" or not hasattr(view, method.lower()):
            return True
        key = (type(view), getattr(view, "action", ""), method)
        if key not in self.known:
            from common.openapi import query_parameters  # which needs views, and those this class

            with self.asking:
                self.known[key] = query_parameters(view, method)
        refuse_unknown(request, self.known[key])
        refuse_repeated(request)
        return True


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Raise InvalidInputError if the address holds other parameters than these and DRF's own, `format`."""
    names = sorted(known)
    stems = tuple(name.removesuffix("NAME") for name in names if name.endswith(PLACEHOLDER))
    unknown = [
        name
        for name in request.query_params
        if name not in names and name != "format" and not (name.startswith(stems) and name not in stems)
    ]
    if not unknown:
        return
    known_ones = f"There are: {', '.join(names)}." if names else "This address takes none."
    raise InvalidInputError(
        f"There is no parameter {unknown[0]!r} here. {known_ones}",
        code="unknown_parameter",
        errors=[
            FieldError(pointer_to(name), "unknown_parameter", "Not a parameter of this address.") for name in unknown
        ],
    )


def refuse_repeated(request: Request) -> None:
    """Raise InvalidInputError if the address gives a parameter more than once. None of ours is a list: where several
    values are meant, one parameter has them with commas between them."""
    repeated = [name for name, values in request.query_params.lists() if len(values) > 1]
    if not repeated:
        return
    raise InvalidInputError(
        f"The parameter {repeated[0][:80]!r} is given {len(request.query_params.getlist(repeated[0]))} times. Give it "
        "once: only one of the values could count.",
        code="repeated_parameter",
        errors=[FieldError(pointer_to(name), "repeated_parameter", "Given more than once.") for name in repeated],
    )


def refuse_empty(request: Request, names: Iterable[str]) -> None:
    """Raise InvalidInputError if one of these parameters is there without a value: `?import=$ID`, where a script has
    not set ID, must not find everything."""
    empty = [name for name in names if request.query_params.get(name) == ""]
    if empty:
        message = f"{empty[0]} is empty. Give it a value, or leave it out."
        raise InvalidInputError.about(empty[0], message, "empty")


def choice(request: Request, name: str, allowed: Sequence[str], default: str = "") -> str:
    """The parameter's value, which must be one of these. Raises InvalidInputError."""
    value = request.query_params.get(name)
    if value is None:
        return default
    if value not in allowed:
        message = f"{name}={value[:80]!r} is not possible here. There is: {', '.join(allowed)}."
        raise InvalidInputError.about(name, message)
    return value


def chosen_fields(request: Request, allowed: Sequence[str], *, always: str) -> tuple[str, ...]:
    """The fields that `?fields=` asks for and the one that is always shown, in the order of `allowed`; without it,
    all of them. Raises InvalidInputError."""
    text = request.query_params.get("fields")
    if text is None:
        return tuple(allowed)
    wanted = {name.strip() for name in text.split(",")}
    if unknown := sorted(wanted.difference(allowed)):
        message = f"There is no field {unknown[0][:80]!r} to choose. There are: {', '.join(allowed)}."
        raise InvalidInputError.about("fields", message)
    return tuple(name for name in allowed if name in wanted or name == always)


def whole_number(text: str, most: int = 2**63 - 1) -> int | None:
    """The number that these digits are; None where they are something else, or more than `most`, which a key of the
    database can't be."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    return number if 0 <= number <= most else None


def identifier(request: Request, name: str) -> uuid.UUID | None:
    """The parameter's UUID; None if it is not there. Raises InvalidInputError."""
    value = request.query_params.get(name)
    if value is None:
        return None
    try:
        return uuid.UUID(value)
    except ValueError:
        raise InvalidInputError.about(name, f"{name}={value[:80]!r} is no UUID.", "invalid") from None


def moment(request: Request, name: str) -> datetime | None:
    """The parameter's time, in UTC where it does not say; a date is its midnight. Raises InvalidInputError."""
    value = request.query_params.get(name)
    if value is None:
        return None
    try:
        found = parse_datetime(value)
        if found is None and (day := parse_date(value)) is not None:
            found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    except ValueError:
        found = None
    if found is None:
        message = (
            f"{name}={value[:80]!r} is no time. Give it as ISO 8601, such as 2026-03-01T12:00:00Z; write + as %2B."
        )
        raise InvalidInputError.about(name, message, "invalid")
    return found if timezone.is_aware(found) else timezone.make_aware(found, UTC)
