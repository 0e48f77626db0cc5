"""What every view reads of a request: query parameters, of which unknown ones are refused, and who asks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from django.db import models
from rest_framework.request import Request

from common.errors import FieldError, InvalidInputError

if TYPE_CHECKING:
    from accounts.models import User

_DIGEST = re.compile("[0-9a-f]{64}")
PAGING = frozenset({"cursor", "page_size", "format"})


def refuse_unknown(request: Request, known: Iterable[str] = (), *, paged: bool = True) -> None:
    """Raise InvalidInputError if the address holds a parameter that means nothing here: a mistyped
    filter must not look like one that found everything. What is not `paged` has no `cursor`, either."""
    paging = PAGING if paged else frozenset()
    names = sorted({*known})
    unknown = [name for name in request.query_params if name not in paging and name not in names]
    if unknown:
        allowed = ", ".join(sorted({*names, *(("cursor", "page_size") if paged else ())}))
        raise InvalidInputError(
            f"There is no parameter {unknown[0]!r} here. There are: {allowed}.",
            code="unknown_parameter",
            errors=[
                FieldError(f"/{name}", "unknown_parameter", "Not a parameter of this address.") for name in unknown
            ],
        )


def choice(request: Request, name: str, choices: type[models.TextChoices], default: str = "") -> str:
    """The parameter's value, which must be one of the choices. Raises InvalidInputError."""
    value = request.query_params.get(name) or default
    if value and value not in choices.values:
        message = f"{name}={value!r} is none of {', '.join(choices.values)}."
        raise InvalidInputError(message, errors=[FieldError(f"/{name}", "invalid_choice", message)])
    return value


def hex_digest(request: Request, name: str) -> str:
    """A SHA-256 in lower case; empty if the parameter is not there. Raises InvalidInputError."""
    value = request.query_params.get(name, "").lower()
    if value and not _DIGEST.fullmatch(value):
        message = f"{name}={value[:80]!r} is not a SHA-256. Give it as 64 hexadecimal digits."
        raise InvalidInputError(message, errors=[FieldError(f"/{name}", "invalid", message)])
    return value


def person(request: Request) -> User:
    """Who asks. Permissions let nobody through to an action who is not known."""
    return cast("User", request.user)


def json_object(request: Request, known: Iterable[str]) -> dict[str, str]:
    """The JSON body with its values as a form would have them: text, or the JSON text of what is none.

    Raises InvalidInputError for anything but an object, and for names that mean nothing here.
    """
    body = request.data
    if not isinstance(body, dict):
        raise InvalidInputError("The JSON body must be an object.")
    names = sorted(known)
    errors = [
        FieldError(f"/{name}", "unknown_parameter", f"There is no {name!r} here. There are: {', '.join(names)}.")
        for name in body
        if name not in names
    ]
    if errors:
        raise InvalidInputError(errors[0].message, code="unknown_parameter", errors=errors)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    return {name: text for name, text in texts.items() if text != "null"}
