"""What the OpenAPI document says of errors: one shape, whatever went wrong."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers

MEANINGS = {
    400: "The request is not valid; `errors` names what is wrong with which part.",
    401: "No token or session, or one that is not known (any more).",
    403: "The token or account may not do this.",
    404: "There is no such thing, or it is not yours to see.",
    409: "It does not fit the present state; `code` says why.",
    410: "It was there, and is not any more.",
    411: "The length of the body has to be said beforehand.",
    413: "The body is larger than this server takes.",
    415: "The body is of a type that is not taken here.",
    503: "Busy or not available right now; try again later.",
    507: "The file store has no room for this.",
}


class FieldProblem(serializers.Serializer):
    """One thing wrong with one part of the request."""

    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901) to the part, such as `/name`.")
    code = serializers.CharField(help_text="Stable name of the rule that was broken.")
    message = serializers.CharField(help_text="What is wrong, in words.")


class Problem(serializers.Serializer):
    """An error, as RFC 9457 has it."""

    type = serializers.CharField(help_text="`urn:odata:problem:` and the code.")
    title = serializers.CharField(help_text="The kind of problem, in words.")
    status = serializers.IntegerField(help_text="The HTTP status once more.")
    code = serializers.CharField(help_text="Stable name of the problem: compare this, not the words.")
    detail = serializers.CharField(help_text="What is wrong here, and how to put it right.")
    instance = serializers.CharField(help_text="The path that was asked for.")
    request_id = serializers.CharField(help_text="Names this request in the logs.")
    errors = FieldProblem(many=True, required=False)  # type: ignore[assignment]  # a field, not the property


def problems(*statuses: int) -> dict[Any, OpenApiResponse]:
    """The error answers of an operation: those that all have, and these."""
    return {
        (status, "application/problem+json"): OpenApiResponse(Problem, description=MEANINGS[status])
        for status in sorted({400, 401, 403, 503, *statuses})
    }
