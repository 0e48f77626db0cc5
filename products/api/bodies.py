"""Product files on their way in: never held in memory, and never taken in part.

A file's body is refused by its declared length before a byte of it is read, and streamed after
that; `common.whole_bodies` sees to it that one that breaks off is an error. Bodies of unknown
length (`Transfer-Encoding: chunked`) are not taken: the web server shows the end of a broken
connection and the end of the body alike, so that half a file would be imported as a whole one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import IO, Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from accounts.models import User
from common.bodies import LengthRequiredError
from common.errors import InvalidInputError, TooLargeError
from products.importing import quota, receiver

CHUNK = 1024 * 1024
FORM_OVERHEAD = 64 * 1024
"""Bytes that a multipart body may hold beside the file: the other fields and the boundaries."""
UNNAMED = "upload.csv"
JSON = "application/json"


class _StreamParser(BaseParser):
    """Hands the body on as it comes in."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream


class CsvParser(_StreamParser):
    media_type = "text/csv"


class BytesParser(_StreamParser):
    media_type = "application/octet-stream"


def prepare(request: HttpRequest, sender: User) -> None:
    """Look at a file's headers before its body, and be ready for it to take its time.

    Raises TooLargeError, QuotaError, LengthRequiredError, or InvalidInputError if there is no body at all.
    """
    if request.headers.get("Transfer-Encoding"):
        raise LengthRequiredError(
            "The body's length is not known beforehand. Send a Content-Length; with curl that is "
            "`--data-binary @FILE` or `-F file=@FILE`, not `-T -`."
        )
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length == 0:
        raise no_file()
    if request.content_type == JSON and length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLargeError("The JSON body is larger than this address takes. A file is not sent in it.")
    if length > settings.IMPORT_MAX_BYTES + FORM_OVERHEAD:
        raise TooLargeError(
            f"The body has {length:,} bytes; this server takes files of {settings.IMPORT_MAX_BYTES:,} bytes at most. "
            "Split the file: each part needs the header row."
        )
    if request.content_type != JSON:
        quota.refuse_too_much(sender, max(0, length - FORM_OVERHEAD))
    receiver.give_connection_back()


def no_file() -> InvalidInputError:
    return InvalidInputError(
        "There is no file in the request. Send it as the multipart field `file`, as the body itself with the type "
        "text/csv, or name a finished upload in JSON, as `upload`.",
        code="file_missing",
    )


def file_of(request: Request) -> tuple[Iterator[bytes], str]:
    """The file of a request as chunks, and what it is called. Raises InvalidInputError if there is none."""
    if is_form(request):
        upload = request.FILES.get("file")
        if upload is None:
            raise no_file()
        return upload.chunks(CHUNK), upload.name or UNNAMED
    body = cast("IO[bytes]", request.data)
    return iter(partial(body.read, CHUNK), b""), _name(request)


def is_form(request: Request) -> bool:
    """Whether the file stands in a form, beside other fields."""
    return request.content_type.startswith("multipart/")


def is_json(request: Request) -> bool:
    """Whether the body says where the file is, rather than being it."""
    media_type, _ = parse_header_parameters(request.content_type)
    return media_type == JSON


def _name(request: Request) -> str:
    """What a file without a form around it is called: `?file_name=`, or Content-Disposition (RFC 6266)."""
    if name := request.query_params.get("file_name", ""):
        return name
    _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
    return parameters.get("filename") or UNNAMED
