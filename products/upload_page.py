"""The upload of a file as its page shows and takes it, on the plain page and inside the admin alike."""

from __future__ import annotations

import errno
import uuid
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_protect

from common.errors import InvalidInputError, NoSpaceError, ServiceError, TooLargeError
from common.form_files import take_files
from products.importing import columns, receiver
from products.importing.options import FORMAT_NAMES, MAX_HEADER_LINE, ImportOptions
from products.models import Import
from products.tasks import start_import


def upload(request: HttpRequest, template: str, context: dict[str, Any], *, then: str) -> HttpResponse:
    """Show the form, or take the file and go on to the page named `then` of its import.

    The view that calls this has to be `csrf_exempt`: Django looks for the token in the body, and
    the body of somebody who may not upload, or one that is too large, must not be read at all.
    """

    def form(error: ServiceError | None = None) -> HttpResponse:
        status = error.status if error else 200
        return render(request, template, {**context, **_upload_context(request, error, then)}, status=status)

    if request.method != "POST":
        return form()
    try:
        if request.user.is_authenticated:
            receiver.refuse_by_length(int(request.META.get("CONTENT_LENGTH") or 0), request.user, in_form=True)
            take_files(request)
        return _take(request, then)
    except ServiceError as error:
        return form(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return form(NoSpaceError("The server has no room left for this file. Ask whoever runs it to make some."))


@csrf_protect
def _take(request: HttpRequest, then: str) -> HttpResponse:
    """The body is a file from somebody who may send it: keep it and start its import."""
    if not request.user.is_authenticated:  # the views ask before; this keeps it true
        raise PermissionDenied
    file = request.FILES.get("file")
    if file is None:
        raise InvalidInputError("Choose a file first: a CSV of products with a header row.", code="file_missing")
    import_ = start_import(
        file.chunks(),
        file_name=file.name or "unnamed.csv",
        options=ImportOptions.parse(request.POST.dict()),
        user=request.user,
    )
    return HttpResponseRedirect(reverse(then, args=[import_.pk]))


ENCODINGS = (
    ("utf-8", "UTF-8"),
    ("windows-1252", "Windows-1252 (Western Europe)"),
    ("iso-8859-15", "ISO 8859-15 (Western Europe)"),
    ("windows-1250", "Windows-1250 (Central Europe)"),
    ("windows-1251", "Windows-1251 (Cyrillic)"),
    ("windows-1253", "Windows-1253 (Greek)"),
    ("windows-1254", "Windows-1254 (Turkish)"),
    ("macintosh", "Mac Roman"),
    ("shift_jis", "Shift JIS (Japanese)"),
    ("gb18030", "GB 18030 (Chinese)"),
    ("euc-kr", "EUC-KR (Korean)"),
    ("utf-16le", "UTF-16, little-endian"),
    ("utf-16be", "UTF-16, big-endian"),
)
"""Names that browsers (the WHATWG's Encoding standard) and Python both know, for the same thing."""
DELIMITERS = ((",", "Comma ,"), (";", "Semicolon ;"), ("tab", "Tab"), ("|", "Pipe |"))
QUOTES = (('"', 'Double "'), ("'", "Single '"), ("none", "None"))


def _upload_context(request: HttpRequest, error: ServiceError | None, then: str) -> dict[str, Any]:
    """What `products/upload_form.html` shows: the choices, what was chosen, what was wrong."""
    chosen: dict[str, Any] = {**asdict(ImportOptions()), **dict.fromkeys(FORMAT_NAMES, ""), "mapping": ""}
    if request.method == "GET":  # the page of an import links here with its options, for the corrected file
        chosen |= {name: request.GET[name] for name in chosen if name in request.GET}
    elif error and not isinstance(error, TooLargeError | NoSpaceError):
        chosen |= {name: request.POST.get(name, value) for name, value in chosen.items()}
    return {
        "problem": error,
        "problems_of": {each.pointer.strip("/"): each.message for each in error.errors} if error else {},
        "chosen": chosen,
        "modes": Import.Mode.choices,
        "on_errors": Import.OnError.choices,
        "duplicates": Import.Duplicates.choices,
        "empty_cells": Import.EmptyCells.choices,
        "encodings": ENCODINGS,
        "delimiters": DELIMITERS,
        "quotes": QUOTES,
        "max_header_line": MAX_HEADER_LINE,
        "max_bytes": settings.IMPORT_MAX_BYTES,
        "page_of_import": reverse(then, args=[_SOME_ID]),
        "columns": {
            "names": [column.name for column in columns.COLUMNS],
            "by_header": columns.names_by_header(),
            "attribute": columns.ATTRIBUTE,
            "attribute_name_limit": columns.ATTRIBUTE_NAME_LIMIT,
            "max_columns": columns.MAX_COLUMNS,
        },
    }


_SOME_ID = uuid.UUID(int=0)
"""Stands in an address where the script puts the id of the new import."""
