"""Files in forms: put aside on the disk where a view says that it takes one, and nowhere else.

Django reads a form before it knows who sent it, since the CSRF token may stand in it: without this, anybody could fill
the disk by way of the login.
"""

from __future__ import annotations

from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, TemporaryFileUploadHandler
from django.http import HttpRequest


class NoFiles(FileUploadHandler):
    """The rule, FILE_UPLOAD_HANDLERS: a large form is refused unread, and files in a small one are passed over."""

    def handle_raw_input(self, input_data: Any, META: Any, content_length: int, *args: Any, **kwargs: Any) -> None:  # noqa: N803 - Django's
        if content_length > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig("No file is taken here, and the form is larger than one without.")

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Nothing: it doesn't come to that."""

    def file_complete(self, file_size: int) -> None:
        """Nothing, as above."""


def take_files(request: HttpRequest) -> None:
    """The exception, for who may send a file of this length: call it before anything reads the form."""
    request.upload_handlers = [TemporaryFileUploadHandler(request)]
