"""Product files on their way in: never held in memory, and never taken in part.

A file's body is refused by its declared length before a byte of it is read, and streamed after
that; `common.whole_bodies` sees to it that one that breaks off is an error. Bodies of unknown
length (`Transfer-Encoding: chunked`) are not taken: the web server shows the end of a broken
connection and the end of the body alike, so that half a file would be imported as a whole one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, QueryDict
from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from accounts.models import User
from common.bodies import LengthRequiredError
from common.errors import InvalidInputError, TooLargeError
from common.form_files import take_files
from products.importing import receiver

CHUNK = 1024 * 1024
UNNAMED = "upload.csv"
JSON, FORM = "application/json", "multipart/form-data"


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

    Raises TooLargeError, QuotaError, LengthRequiredError or NoSpaceError, and InvalidInputError if there is no body.
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
    if request.content_type != JSON:  # which names a file that is here already
        receiver.refuse_by_length(length, sender, in_form=request.content_type == FORM)
        take_files(request)
    receiver.give_connection_back()


def no_file() -> InvalidInputError:
    return InvalidInputError(
        "There is no file in the request, or nothing in it. Send it as the multipart field `file`, as the body "
        "itself with the type text/csv, or name a finished upload in JSON, as `upload`.",
        code="file_missing",
    )


def file_of(request: Request) -> tuple[Iterator[bytes], str]:
    """The file of a request as chunks, and what it is called. Raises InvalidInputError if there is none."""
    if is_form(request):
        upload = request.FILES.get("file")
        if upload is None or not upload.size:
            raise no_file()
        return upload.chunks(CHUNK), upload.name or UNNAMED
    return _pieces(getattr(request, "set_down", None) or request.data), _name(request)


@contextmanager
def set_down(request: Request) -> Iterator[str]:
    """Have the whole body on the disk for the time of the block, and a digest of what it says: what a request may be
    recognised by when it comes again. The boundary of a form, which is another each time, is no part of that."""
    if is_json(request):
        yield hashlib.sha256(request._request.body).hexdigest()
    elif is_form(request):
        form = cast("QueryDict", request.data)
        told = {name: [_told(value) for value in values] for name, values in form.lists()}
        yield hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    else:
        with TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as file:
            digest = hashlib.sha256()
            for piece in _pieces(request.data):
                digest.update(piece)
                file.write(piece)
            file.seek(0)
            request.set_down = file  # type: ignore[attr-defined]
            yield digest.hexdigest()


def _told(value: Any) -> Any:
    """What a field of a form says: its text, or the name and digest of its file."""
    if not isinstance(value, UploadedFile):
        return value
    digest = hashlib.sha256()
    for piece in value.chunks(CHUNK):
        digest.update(piece)
    return [value.name, digest.hexdigest()]


def _pieces(body: Any) -> Iterator[bytes]:
    return iter(partial(body.read, CHUNK), b"")


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
