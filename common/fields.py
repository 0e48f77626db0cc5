"""Fields of JSON bodies that take what the schema says, and nothing that could be read as it: no `0` for false."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.request import Request

from common.errors import FieldError, InvalidInputError, pointer_to


class Flag(serializers.BooleanField):
    """`true` or `false`."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Whole(serializers.IntegerField):
    """A number without a fraction. `5.0` is one: JSON knows numbers of one kind only."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class Identifier(serializers.UUIDField):
    """A UUID as text."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """A string as it is, with the spaces around it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Body(serializers.Serializer):
    """A JSON object all whose names mean something: `common.openapi` says in the schema that it takes no others."""

    passed_over: ClassVar[frozenset[str]] = frozenset()
    """Names that an answer has, and that may be sent back with it."""
    rules: ClassVar[dict[str, Any]] = {}
    """What `validate` looks at, in the words of JSON Schema."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The values. Raises InvalidInputError for names that are not known."""
        if isinstance(data, dict):
            refuse_unknown_fields(data, {*self.fields, *self.passed_over})
        values: dict[str, Any] = super().to_internal_value(data)
        return values


def refuse_unknown_fields(data: dict[str, Any], known: Container[str]) -> None:
    """Raise InvalidInputError for fields that nobody would read."""
    errors = [
        FieldError(pointer_to(str(name)), "unknown_field", "There is no such field.")
        for name in data
        if name not in known
    ]
    if errors:
        raise InvalidInputError("The body has fields that mean nothing here.", code="unknown_field", errors=errors)


def read_fields(body: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """The values that the body of a request has, of the right types. Raises InvalidInputError and ValidationError."""
    read = body(data=request.data)
    read.is_valid(raise_exception=True)
    return dict(read.validated_data)
