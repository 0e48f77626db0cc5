"""`/api/v1/imports/`: files on their way into the catalogue."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from django.core.files.storage import default_storage
from django.http import FileResponse, QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import Scope, User
from common.bodies import ShallowJSONParser
from common.errors import InvalidInputError, NotFoundError
from common.fields import read_fields
from common.openapi import NO_NUL, problems
from common.pagination import NewestFirst
from common.parameters import choice
from products import progress
from products.api import bodies
from products.api.parameters import hex_digest, json_object, refuse_unknown_parts
from products.api.serializers import ApplyOptions, ImportDetail, ImportDocument
from products.api.uploads import find_upload
from products.importing import receiver, twins, uploads
from products.importing.options import FORMAT_NAMES, LIMIT, MAX_HEADER_LINE, OPTION_NAMES, ImportOptions, read_limit
from products.models import Import
from products.tasks import apply_import, begin_import, cancel_import, import_upload, undo_import

OPTIONS = (*OPTION_NAMES, *FORMAT_NAMES)
ID = OpenApiParameter("import_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Also the id of its task.")
MAPPING = {
    "type": "object",
    "propertyNames": {"pattern": NO_NUL},
    "additionalProperties": {"type": "string", "pattern": r"^(|sku|name|description|status|attributes\..{1,100})$"},
}
OPTION_FIELDS: dict[str, dict[str, Any]] = {
    "mode": {
        "type": "string",
        "enum": Import.Mode.values,
        "default": "upsert",
        "description": "`sync` does what `upsert` does, and deactivates what the file lacks.",
    },
    "on_error": {
        "type": "string",
        "enum": Import.OnError.values,
        "default": "skip",
        "description": "What a bad row does: be left out and reported, or stop the import.",
    },
    "max_rejects": {
        "type": "string",
        "pattern": f"^{LIMIT}?$",
        "default": "100,10%",
        "description": "More bad rows stop it: `100`, a share (`10%`), both (`100,10%`: more than either) or `none`.",
    },
    "duplicates": {
        "type": "string",
        "enum": Import.Duplicates.values,
        "default": "last",
        "description": "Which row counts where a sku stands in several.",
    },
    "empty_cells": {
        "type": "string",
        "enum": Import.EmptyCells.values,
        "default": "keep",
        "description": "What an empty cell does to a product that exists: keep its value, or clear it.",
    },
    "max_deactivated": {
        "type": "string",
        "pattern": f"^{LIMIT}?$",
        "default": "10%",
        "description": "In mode `sync`: the most products, or the largest share, that may become inactive.",
    },
    "check_first": {
        "type": "boolean",
        "default": False,
        "description": "Stop when checked, and wait for `apply`. Always so in mode `sync`.",
    },
    "mapping": {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": MAPPING,
        "description": 'JSON: where columns go: `{"Artikel": "sku", "Farbe": "attributes.colour", "Preis": ""}`.',
    },
    "encoding": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9_.:-]{0,40}$",
        "description": "Such as `utf-8` or `windows-1252`; found out if not given.",
    },
    "delimiter": {
        "type": "string",
        "pattern": r'^([^"\r\n\x00]?|tab|\\t)$',
        "description": "One character, or `tab`; found out if not given.",
    },
    "quote": {
        "type": "string",
        "pattern": r"^([^\r\n\x00]?|none)$",
        "description": "One character, or `none`; found out if not given.",
    },
    "header_line": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_HEADER_LINE,
        "description": "The line that names the columns; found out if not given.",
    },
    "sheet": {"type": "string", "description": "Of a workbook: the sheet to read; the first if not given."},
}
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "minLength": 1, "description": "The file."},
        **OPTION_FIELDS,
    },
    "additionalProperties": False,
}
UPLOAD: dict[str, Any] = {
    "type": "object",
    "required": ["upload"],
    "properties": {
        "upload": {
            "type": "string",
            "minLength": 1,
            "description": "A finished upload: its id, or its address below `/files/`.",
        },
        **OPTION_FIELDS,
        "mapping": {**MAPPING, "description": "Where columns go: headers and columns."},
    },
    "additionalProperties": False,
}
BINARY = {"type": "string", "format": "binary", "minLength": 1}
CSV_SHOWN = "sku,name,description,status\nLAMP-1,Oak lamp,Of oak,active\n"
REQUESTS_SHOWN = [
    OpenApiExample(
        "A form", {"file": "products.csv", "mode": "update"}, request_only=True, media_type="multipart/form-data"
    ),
    OpenApiExample("The file itself", CSV_SHOWN, request_only=True, media_type="text/csv"),
    OpenApiExample("Any file", CSV_SHOWN, request_only=True, media_type="application/octet-stream"),
    OpenApiExample(
        "A finished upload",
        {
            "upload": "/files/0190163d-8694-739b-aea5-966c26f8ad90",
            "mode": "upsert",
            "check_first": True,
            "mapping": {"Artikel": "sku", "Farbe": "attributes.colour"},
        },
        request_only=True,
        media_type="application/json",
    ),
]
ACCEPTED = OpenApiResponse(
    ImportDocument, description="The file is kept and will be imported. `Location` names its import, to be asked again."
)


def upload_schema(**how: Any) -> Any:
    """How the schema shows an upload, by whichever path."""
    parameters = [
        OpenApiParameter(
            name,
            {key: value for key, value in field.items() if key != "description"},
            OpenApiParameter.QUERY,
            description=field.get("description", ""),
        )
        for name, field in OPTION_FIELDS.items()
    ]
    parameters.append(
        OpenApiParameter("file_name", OpenApiTypes.STR, description="What the file of a raw body is called.")
    )
    parameters += [
        OpenApiParameter(
            "Location", OpenApiTypes.URI_REF, OpenApiParameter.HEADER, response=[202], description="The import."
        ),
        OpenApiParameter(
            "Retry-After",
            OpenApiTypes.INT,
            OpenApiParameter.HEADER,
            response=[202],
            description="Seconds until it is worth asking again.",
        ),
    ]
    return extend_schema(
        parameters=parameters,
        request={
            "multipart/form-data": FORM,
            "text/csv": BINARY,
            "application/octet-stream": BINARY,
            "application/json": UPLOAD,
        },
        examples=REQUESTS_SHOWN,
        responses={202: ACCEPTED, **problems(404, 409, 410, 411, 413, 415, 507)},
        description=(
            "The file is in the body, or has been uploaded before, in parts, to `/files/` (tus 1.0): then a JSON body "
            "names that upload, and the same upload always gives the same import. The options may be fields of the "
            "form or the JSON, or parameters of the address."
        ),
        **how,
    )


@extend_schema_view(
    list=extend_schema(
        summary="List imports",
        description="Your own, or all of them if you may see those of others.",
        parameters=[
            OpenApiParameter(
                "state", OpenApiTypes.STR, enum=Import.State.values, description="Only imports in this state."
            ),
            OpenApiParameter(
                "sha256",
                {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
                description="Imports of the file with this SHA-256, in hex.",
            ),
        ],
        responses={200: ImportDocument(many=True), **problems()},
    ),
    create=upload_schema(summary="Import a file"),
    retrieve=extend_schema(
        summary="Read an import",
        description="How far it is, what it came to, and in `same_as` the last import of the same file.",
        parameters=[ID],
        responses={200: ImportDetail, **problems(404)},
    ),
)
@extend_schema(tags=["imports"])
class ImportViewSet(IdempotentPosts, GenericViewSet):
    queryset = Import.objects.all()
    serializer_class = ImportDocument
    pagination_class = NewestFirst
    parser_classes = [MultiPartParser, ShallowJSONParser, bodies.CsvParser, bodies.BytesParser]
    required_scopes = {
        "list": {Scope.READ, Scope.IMPORT},
        "retrieve": {Scope.READ, Scope.IMPORT},
        "create": {Scope.IMPORT},
        "cancel": {Scope.IMPORT},
        "apply": {Scope.IMPORT},
        "undo": {Scope.IMPORT},
        "download": {Scope.READ, Scope.IMPORT},
    }
    _begin: Callable[[], Import] | None = None
    """Makes the import, once the file is in the store."""

    def get_parsers(self) -> list[BaseParser]:
        # Asked before the action is known, other than by the schema.
        action = getattr(self, "action", None) or self.action_map.get((self.request.method or "").lower())
        return super().get_parsers() if action == "create" else [ShallowJSONParser()]

    @contextmanager
    def whole_body(self, request: Request) -> Iterator[str]:
        if self.action != "create":
            with super().whole_body(request) as digest:
                yield digest
            return
        bodies.prepare(request._request, person(request))
        with bodies.set_down(request) as digest:
            yield digest

    def list(self, request: Request) -> Response:
        imports = Import.objects.visible_to(request.user).select_related("created_by")
        if state := choice(request, "state", Import.State.values):
            imports = imports.filter(state=state)
        if digest := hex_digest(request, "sha256"):
            imports = imports.filter(sha256=digest)
        page = self.paginate_queryset(imports) or []
        return self.get_paginated_response([progress.document(import_) for import_ in page])

    def retrieve(self, request: Request, import_id: str) -> Response:
        import_ = visible_import(request, import_id)
        return Response({**progress.document(import_), "same_as": _same_as(import_, person(request))})

    @contextmanager
    def beforehand(self, request: Request) -> Iterator[None]:
        if self.action != "create":
            yield
            return
        with _upload_kept(request) if bodies.is_json(request) else _body_kept(request) as self._begin:
            yield

    def create(self, request: Request) -> Response:
        if self._begin is not None:  # all that goes before has been done for an Idempotency-Key
            return self._accepted(self._begin())
        bodies.prepare(request._request, person(request))
        with _upload_kept(request) if bodies.is_json(request) else _body_kept(request) as begin:
            return self._accepted(begin())

    def _accepted(self, import_: Import) -> Response:
        document = progress.document(import_)
        return Response(document, status=202, headers={"Location": document["links"]["self"], "Retry-After": "1"})

    @extend_schema(
        operation_id="imports_cancel",
        summary="Cancel an import",
        description="It stops soon after, and nothing of it stays in the catalogue.",
        parameters=[ID],
        request=None,
        responses={202: ImportDocument, **problems(404, 409)},
    )
    def cancel(self, request: Request, import_id: str) -> Response:
        import_ = cancel_import(visible_import(request, import_id), user=person(request))
        return Response(progress.document(import_), status=202)

    @extend_schema(
        operation_id="imports_apply",
        summary="Apply a checked import",
        description=(
            "Exactly what was shown is applied. Where the catalogue has changed meanwhile, the file is checked again "
            "instead: its phase is then `checked` once more, with `stale` set."
        ),
        parameters=[ID],
        request=ApplyOptions,
        responses={202: ImportDocument, **problems(404, 409)},
    )
    def apply(self, request: Request, import_id: str) -> Response:
        limit = read_fields(ApplyOptions, request).get("max_deactivated", "")
        found = visible_import(request, import_id)
        import_ = apply_import(found, user=person(request), max_deactivated=read_limit(limit))
        return Response(progress.document(import_), status=202)

    @extend_schema(
        operation_id="imports_undo",
        summary="Undo an applied import",
        description="The answer is the undo: an import of its own, to be watched like any other.",
        parameters=[ID],
        request=None,
        responses={202: ImportDocument, **problems(404, 409)},
    )
    def undo(self, request: Request, import_id: str) -> Response:
        undo = undo_import(visible_import(request, import_id), user=person(request))
        document = progress.document(undo)
        return Response(document, status=202, headers={"Location": document["links"]["self"], "Retry-After": "1"})

    @extend_schema(
        operation_id="imports_file",
        summary="Download the file of an import",
        description="Byte for byte as it was uploaded.",
        parameters=[ID],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, **problems(404)},
    )
    def download(self, request: Request, import_id: str) -> FileResponse:
        return file_of_import(visible_import(request, import_id))


def file_of_import(import_: Import) -> FileResponse:
    """The file as it was uploaded, to be saved. Raises NotFoundError if there is none (any more)."""
    if not import_.stored_file or not default_storage.exists(import_.stored_file):
        raise NotFoundError(_why_no_file(import_), code="file_gone")
    file = default_storage.open(import_.stored_file)
    return FileResponse(file, as_attachment=True, filename=import_.file_name, content_type="application/octet-stream")


def _why_no_file(import_: Import) -> str:
    if import_.cleared_at:
        return f"The file was removed on {import_.cleared_at:%Y-%m-%d}, for its age. Its import is still there."
    return "This import has no file, or it is not kept any more."


def visible_import(request: Request, import_id: str) -> Import:
    """The import of this id, if the request's person may see it. Raises NotFoundError."""
    imports = Import.objects.visible_to(request.user).select_related("created_by")
    try:
        return imports.get(pk=uuid.UUID(import_id))
    except (ValueError, Import.DoesNotExist):
        raise NotFoundError(f"There is no import {import_id!r} that you may see.") from None


def _same_as(import_: Import, user: User) -> dict[str, Any] | None:
    twin = twins.earlier(import_, user)
    if twin is None:
        return None
    document = progress.document(twin)
    return {
        "id": document["id"],
        "file_name": document["file_name"],
        "finished_at": document["finished_at"],
        "created_by": document["created_by"],
    }


@contextmanager
def _body_kept(request: Request) -> Iterator[Callable[[], Import]]:
    """The file in the body, in the store, and what makes it an import. Its options are in the form if there is one, or
    in the address."""
    form: Mapping[str, str] = {}
    if bodies.is_form(request):
        form = cast("QueryDict", request.data)
        refuse_unknown_parts(form, FORM["properties"])
    options = _options(request.query_params, form)
    chunks, file_name = bodies.file_of(request)
    with receiver.kept(chunks) as file:
        yield partial(begin_import, file, file_name=file_name, options=options, user=person(request))


@contextmanager
def _upload_kept(request: Request) -> Iterator[Callable[[], Import]]:
    """The same of a finished upload, which the JSON body names beside the options."""
    if isinstance(request.data, dict) and not request.data.keys() - set(OPTIONS):
        raise bodies.no_file()
    body = json_object(request, UPLOAD)
    options = _options(request.query_params, body)
    if not body["upload"]:
        raise bodies.no_file()
    upload = find_upload(request, body["upload"].rsplit("/", 1)[-1])
    with uploads.kept(upload) as file:
        yield partial(import_upload, upload, file, options=options, user=person(request))


def _options(*sources: Mapping[str, Any]) -> ImportOptions:
    for source in sources:  # each for itself: what another one outweighs is not let through unread
        _refuse_other_flags(source.get("check_first", ""))
        ImportOptions.parse({name: source[name] for name in OPTIONS if name in source})
    return ImportOptions.parse({name: source[name] for source in sources for name in OPTIONS if name in source})


def _refuse_other_flags(value: str | bool) -> None:
    """Raise InvalidInputError for what the checkbox of a page may say, such as `on`, but no program."""
    if str(value).lower() not in ("", "true", "false"):
        message = f"check_first “{str(value)[:40]}” is not understood. Use true or false."
        raise InvalidInputError.about("check_first", message, "invalid")
