"""What the views read of a request beside `common.parameters`: digests and JSON bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from rest_framework.request import Request

from common.errors import FieldError, InvalidInputError

_DIGEST = re.compile("[0-9a-f]{64}")


def hex_digest(request: Request, name: str) -> str:
    """A SHA-256 in lower case; empty if the parameter is not there. Raises InvalidInputError."""
    value = request.query_params.get(name, "").lower()
    if value and not _DIGEST.fullmatch(value):
        message = f"{name}={value[:80]!r} is not a SHA-256. Give it as 64 hexadecimal digits."
        raise InvalidInputError(message, errors=[FieldError(f"/{name}", "invalid", message)])
    return value


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
