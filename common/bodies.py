"""JSON bodies, within limits that are looked at before a byte is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework import parsers
from rest_framework.exceptions import ParseError

from common.errors import ServiceError, TooLargeError
from common.problems import problem_response


class LengthRequiredError(ServiceError):
    """The body's length was not said beforehand (RFC 9110, section 15.5.12)."""

    status = 411
    code = "length_required"
    title = "The length of the body is required"


class ShallowJSONParser(parsers.JSONParser):
    """DRF's, but nesting that is too deep for Python is the client's fault and not a bug of ours."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The document. Raises ParseError."""
        try:
            return super().parse(stream, media_type, dict(parser_context or {}))
        except RecursionError:
            raise ParseError("JSON parse error - arrays and objects stand in one another too deeply.") from None


class JsonLimitMiddleware:
    """Refuses a JSON body by its headers, whichever address it is sent to and before anything has read of it.

    Files are not JSON: they have limits of their own, which `products.api.bodies` and tus look at.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.content_type == "application/json" or (request.content_type or "").endswith("+json"):
            try:
                check_length(request.META)
            except ServiceError as error:
                return problem_response(request, error)
        return self.get_response(request)


def check_length(meta: Mapping[str, Any]) -> None:
    """Raise TooLargeError or LengthRequiredError by what the headers say of a JSON body."""
    if meta.get("HTTP_TRANSFER_ENCODING"):
        raise LengthRequiredError("The body's length is not known beforehand. Send a Content-Length.")
    length = int(meta.get("CONTENT_LENGTH") or 0)
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if length > most:
        raise TooLargeError(
            f"The JSON body has {length:,} bytes; at most {most:,} are taken. Send fewer items at a time, or the "
            "products as a file to /api/v1/imports/."
        )
