"""What the views read of a request beside `common.parameters`: digests, JSON bodies and forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from common.errors import FieldError, InvalidInputError, pointer_to
from common.fields import Flag, Text, Whole

_DIGEST = re.compile("[0-9a-f]{64}")


def hex_digest(request: Request, name: str) -> str:
    """A SHA-256 in lower case; empty if the parameter is not there. Raises InvalidInputError."""
    value = request.query_params.get(name, "").lower()
    if name in request.query_params and not _DIGEST.fullmatch(value):
        message = f"{name}={value[:80]!r} is not a SHA-256. Give it as 64 hexadecimal digits."
        raise InvalidInputError.about(name, message, "invalid")
    return value


def json_object(request: Request, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a JSON body of this schema, each of the type that it has there. Raises InvalidInputError and
    ValidationError."""
    named = {
        name: _FIELDS[field["type"]](field, required=name in schema["required"])
        for name, field in schema["properties"].items()
    }
    if isinstance(request.data, dict):
        refuse_unknown_parts(request.data, named)
    body = type("JsonObject", (serializers.Serializer,), named)(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


_FIELDS: dict[str, Callable[..., serializers.Field]] = {
    "string": lambda _, **options: Text(allow_blank=True, **options),
    "boolean": lambda _, **options: Flag(**options),
    "integer": lambda field, **options: Whole(min_value=field["minimum"], max_value=field["maximum"], **options),
    "object": lambda _, **options: serializers.DictField(child=Text(allow_blank=True), **options),
}
"""By types of JSON Schema."""


def refuse_unknown_parts(body: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise InvalidInputError for parts of a form or a JSON body that nobody would read, and for parts of a form that
    are there twice."""
    names = sorted(known)
    errors = [
        FieldError(pointer_to(name), "unknown_parameter", f"There is no {name!r} here. There are: {', '.join(names)}.")
        for name in body
        if name not in names
    ]
    if not errors and isinstance(body, QueryDict):
        errors = [
            FieldError(pointer_to(name), "repeated_parameter", f"{name} is given {len(values)} times. Give it once.")
            for name, values in body.lists()
            if len(values) > 1
        ]
    if errors:
        raise InvalidInputError(errors[0].message, code=errors[0].code, errors=errors)
