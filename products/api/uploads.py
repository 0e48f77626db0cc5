"""`/files/`: uploads that survive a broken connection, by tus 1.0 (https://tus.io/protocols/resumable-upload).

The core protocol with the extensions *creation*, *creation-with-upload*, *expiration*, *checksum* and
*termination*. What the bytes meet is in `products.importing.uploads`; docs/uploads.md is for those who send them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import http_date
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import ApiToken, Scope
from common.errors import InvalidInputError, ServiceError
from products.api.bodies import UNNAMED
from products.importing import uploads
from products.models import Upload

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
BODY_TYPE = "application/offset+octet-stream"
BLOCK = 64 * 1024
"""Bytes read at a time. The server waits until so many are there: on a slow line that must not take long."""
LONGEST_METADATA = 4000
_KEY = re.compile(r"[!-+\--~]+")
"""Of metadata: printable ASCII without space and comma."""


class VersionError(ServiceError):
    """The client speaks another version of tus, or does not say which (RFC 9110, section 15.5.13)."""

    status = 412
    code = "tus_version"
    title = "Another version of tus"


class TusView(IdempotentPosts):
    """What all requests of the protocol have in common."""

    schema = None
    parser_classes = []  # a body is read as it comes in, never as `request.data`
    required_scopes = {method: {Scope.IMPORT} for method in ("get", "post", "patch", "delete")}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "POST" and (method := request.headers.get("X-HTTP-Method-Override")):
            request.method = method.upper()  # for clients behind a proxy that passes no PATCH on
        return super().dispatch(request, *args, **kwargs)

    def get_permissions(self) -> list[BasePermission]:
        # Anybody may ask what is spoken here.
        return [] if self.request.method == "OPTIONS" else super().get_permissions()  # type: ignore[return-value]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        return super().perform_content_negotiation(request, force=True)  # an answer has no body that one could choose

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            raise VersionError(f"Send the header `Tus-Resumable: {VERSION}`: that is the version spoken here.")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Tus-Resumable"] = VERSION
        response["Cache-Control"] = "no-store"
        if response.status_code == VersionError.status:
            response["Tus-Version"] = VERSION
        return response

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(settings.IMPORT_MAX_BYTES),
            "Tus-Checksum-Algorithm": ",".join(uploads.ALGORITHMS),
            "Allow": ", ".join(self.allowed_methods),
        }
        return Response(status=204, headers=headers)


class UploadListView(TusView):
    """`/files/`: where uploads begin."""

    @contextmanager
    def whole_body(self, request: Request) -> Iterator[str]:
        """What makes an upload is in its headers."""
        if request.content_type == BODY_TYPE or request.headers.get("Transfer-Encoding"):
            raise InvalidInputError(
                "With an Idempotency-Key an upload begins without a body: its bytes are kept as they come in, not all "
                "or none. Send them by PATCH, which can be repeated from the offset that HEAD tells.",
                code="idempotency_key_not_taken",
            )
        yield f"{request.headers.get('Upload-Length')}\n{request.headers.get('Upload-Metadata')}"

    def post(self, request: Request) -> Response:
        metadata = request.headers.get("Upload-Metadata", "").strip()
        upload = uploads.create(
            person(request),
            _token(request),
            length=_length(request),
            file_name=_read_metadata(metadata).get("filename") or UNNAMED,
            metadata=metadata,
        )
        headers = {"Location": reverse("upload-detail", args=[upload.pk])}
        if request.content_type == BODY_TYPE:
            upload = uploads.append(upload, 0, _blocks(request), checksum=_checksum(request))
            headers["Upload-Offset"] = str(upload.offset)
        return Response(status=201, headers={**headers, **_expires(upload)})


class UploadView(TusView):
    """`/files/<id>`: one upload."""

    def head(self, request: Request, upload_id: str) -> Response:
        upload = find_upload(request, upload_id)
        headers = {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length), **_expires(upload)}
        if upload.metadata:
            headers["Upload-Metadata"] = upload.metadata
        return Response(headers=headers)

    def patch(self, request: Request, upload_id: str) -> Response:
        upload = find_upload(request, upload_id)
        if request.content_type != BODY_TYPE:
            raise UnsupportedMediaType(request.content_type, f"The body of a PATCH has the type {BODY_TYPE} here.")
        offset = _number(request, "Upload-Offset", "where these bytes go")
        upload = uploads.append(upload, offset, _blocks(request), checksum=_checksum(request))
        return Response(status=204, headers={"Upload-Offset": str(upload.offset), **_expires(upload)})

    def delete(self, request: Request, upload_id: str) -> Response:
        uploads.terminate(find_upload(request, upload_id))
        return Response(status=204)


def find_upload(request: Request, upload_id: str) -> Upload:
    """The upload of this id, if the request may go on with it. Raises what `uploads.find` raises."""
    return uploads.find(upload_id, person(request), _token(request))


def _token(request: Request) -> ApiToken | None:
    """The token of the request; None in a session."""
    return request.auth if isinstance(request.auth, ApiToken) else None


def _expires(upload: Upload) -> dict[str, str]:
    """When it goes if nothing more comes; never, once an import has taken it."""
    return {} if upload.taken_by else {"Upload-Expires": http_date(upload.expires_at.timestamp())}


def _length(request: Request) -> int:
    if request.headers.get("Upload-Defer-Length"):
        raise InvalidInputError(
            "This server needs to know how long the file is when its upload begins: send Upload-Length.",
            code="upload_length_required",
        )
    return _number(request, "Upload-Length", "how many bytes the file has")


def _number(request: Request, header: str, meaning: str) -> int:
    """A header's whole number. Raises InvalidInputError."""
    text = request.headers.get(header, "").strip()
    if not re.fullmatch(r"[0-9]{1,15}", text):
        said = f"is {text[:40]!r}" if text else "is missing"
        code = f"{header.lower().replace('-', '_')}_required"
        raise InvalidInputError(f"{header} {said}. It says {meaning}, as a whole number.", code=code)
    return int(text)


def _checksum(request: Request) -> uploads.Checksum | None:
    header = request.headers.get("Upload-Checksum")
    return uploads.Checksum(header) if header else None


def _read_metadata(header: str) -> dict[str, str]:
    """`Upload-Metadata`: pairs of a key and a value in Base64, parted by commas. Raises InvalidInputError."""
    if len(header) > LONGEST_METADATA:
        raise InvalidInputError(
            f"Upload-Metadata has {len(header):,} characters; {LONGEST_METADATA:,} are taken.", code="invalid_metadata"
        )
    found: dict[str, str] = {}
    for pair in header.split(",") if header else ():
        key, _, value = pair.strip().partition(" ")
        try:
            if not _KEY.fullmatch(key) or key in found:
                raise ValueError
            found[key] = base64.b64decode(value.strip(), validate=True).decode(errors="replace")
        except (ValueError, binascii.Error):
            raise InvalidInputError(
                f"Upload-Metadata has {pair[:40]!r}, which is no key and value. Send `filename ` and the name in "
                "Base64; keys are ASCII, there once, and parted by commas.",
                code="invalid_metadata",
            ) from None
    return found


def _blocks(request: Request) -> Iterator[bytes]:
    """The body as it comes in. Where it breaks off, what has arrived comes out, then UnreadablePostError.

    A body of unknown length may break off unnoticed, unlike those of `products.api.bodies`: its sender
    gets no answer, and asks for the offset.
    """
    chunked = request.headers.get("Transfer-Encoding")
    body = request._request.META["wsgi.input"] if chunked else request._request
    return iter(partial(cast("IO[bytes]", body).read, BLOCK), b"")
