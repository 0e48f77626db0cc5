"""`Idempotency-Key`: a POST whose answer got lost can be sent again, and happens once
(draft-ietf-httpapi-idempotency-key-header).

The answer is stored in the transaction of the change: there are both, or neither, whatever dies. Who works on a key
holds an advisory lock of that transaction, which ends with it, so that no key is ever left locked. Only answers of
success are stored: after any other one nothing was changed, and the next request with the key is judged anew.

Keys are a person's own, whichever of their tokens they use. An answer may show a secret, as that of a new webhook
endpoint does. So it is stored encrypted, with a key made of SECRET_KEY and of the idempotency key, of which the
database has only a digest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.access import person
from accounts.models import IdempotentReply
from common.batches import remove_in_batches
from common.errors import ConflictError, InvalidInputError, ServiceError
from common.openapi import KEY_PATTERN, LONGEST_KEY

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_FOR = timedelta(hours=24)


class KeyReusedError(ServiceError):
    """The key was used for another request (RFC 9110, section 15.5.21)."""

    status = 422
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class IdempotentPosts(APIView):
    """A view whose POSTs take an `Idempotency-Key`; every view of ours that has POSTs is one. Comes first among the
    bases."""

    takes_no_key_because = ""
    """For a view whose POSTs can't be repeated so: a sentence that says why, and what to do."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        header = request.headers.get(HEADER) if request.method == "POST" else None
        if header is not None and hasattr(self, "post"):
            if self.takes_no_key_because:
                raise InvalidInputError(self.takes_no_key_because, code="idempotency_key_not_taken")
            self.post: Callable[..., Any] = partial(self._once, read_key(header), self.post)

    @contextmanager
    def whole_body(self, request: Request) -> Iterator[str]:
        """A digest of the body, for a block in which a handler may read it. A view that takes large bodies has its
        own."""
        yield hashlib.sha256(request._request.body).hexdigest()

    @contextmanager
    def beforehand(self, request: Request) -> Iterator[None]:
        """What takes long and needs no transaction, such as putting a file into the store. The handler is called in
        the block, unless it turns out that there is an answer already: then what was done here is to be undone."""
        yield

    def _once(
        self, key: str, handler: Callable[..., Any], request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """The handler's answer, or the one that it gave before. Raises ConflictError and KeyReusedError."""
        with self.whole_body(request) as digest:
            asked = f"{request.get_full_path()}\n{request._request.content_type}\n{digest}"
            record = _Record(person(request).pk, key, asked)
            if (stored := record.find()) is not None:
                return stored
            with self.beforehand(request), transaction.atomic():
                return self._recorded(record, handler, request, *args, **kwargs)

    def _recorded(
        self, record: _Record, handler: Callable[..., Any], request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """The same within a transaction, with the key to ourselves: another request may have been faster."""
        record.lock()
        if (stored := record.find()) is not None:
            return stored
        response = self.finalize_response(request, handler(request, *args, **kwargs), *args, **kwargs)
        if isinstance(response, SimpleTemplateResponse):  # as DRF's are
            response.render()
        if isinstance(response, HttpResponse) and response.status_code < 400:
            record.keep(response)
        return response


def read_key(header: str) -> str:
    """The key of a header, bare or in the quotation marks of the draft. Raises InvalidInputError."""
    text = header.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not re.fullmatch(KEY_PATTERN, text):
        raise InvalidInputError(
            f"{HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters without spaces, commas, quotation marks "
            "and backslashes. A new UUID for each thing to be done is best.",
            code="idempotency_key_invalid",
        )
    return text


class _Record:
    """What is known of one key of one person."""

    def __init__(self, user_id: int, key: str, asked: str) -> None:
        """`asked`: what makes a request another one."""
        self._user_id = user_id
        self._asked = hashlib.sha256(asked.encode()).hexdigest()
        name = f"{user_id}:{key}"
        self._digest = hashlib.sha256(name.encode())
        secret = salted_hmac("accounts.idempotency", name, algorithm="sha256").digest()
        self._box = Fernet(base64.urlsafe_b64encode(secret))

    def lock(self) -> None:
        """Have the key to ourselves until the transaction ends that we are in. Raises ConflictError if another request
        has it."""
        number = int.from_bytes(self._digest.digest()[:8], signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
            free = cursor.fetchone()[0]
        if not free:
            raise ConflictError(
                f"A request with this {HEADER} is being carried out. Ask again in a moment for what it came to.",
                code="idempotency_key_in_flight",
                retry_after=1,
            )

    def find(self) -> HttpResponse | None:
        """The stored answer; None if there is none (any more). Raises KeyReusedError, or ConflictError if it can't be
        read."""
        row = IdempotentReply.objects.filter(pk=self._digest.hexdigest()).first()
        if row is None:
            return None
        if row.created_at < timezone.now() - KEPT_FOR:
            row.delete()
            return None
        try:
            reply = json.loads(zlib.decompress(self._box.decrypt(row.sealed)))
        except InvalidToken:
            raise ConflictError(
                "This request was carried out, but its answer can't be read any more: the server's SECRET_KEY has "
                "changed since. Look up what it did; use another key only if it has to be done again.",
                code="idempotency_reply_lost",
            ) from None
        if reply["asked"] != self._asked:
            raise KeyReusedError(
                f"This {HEADER} was used for a request with another address or body. Send that one unchanged to have "
                "its answer again, or use a new key for this one."
            )
        return _replay(reply)

    def keep(self, response: HttpResponse) -> None:
        reply = {
            "asked": self._asked,
            "status": response.status_code,
            "headers": dict(response.items()),
            "body": response.content.decode(),
        }
        sealed = self._box.encrypt(zlib.compress(json.dumps(reply).encode(), 1)).decode("ascii")
        IdempotentReply.objects.create(digest=self._digest.hexdigest(), user_id=self._user_id, sealed=sealed)


def _replay(reply: dict[str, Any]) -> HttpResponse:
    response = HttpResponse(reply["body"], status=reply["status"])
    del response["Content-Type"]  # that of the stored headers, if any
    for name, value in reply["headers"].items():
        response[name] = value
    response[REPLAYED] = "true"
    return response


def remove_expired() -> int:
    """Remove the answers whose time is over, some at a time; returns how many there were."""
    return remove_in_batches(IdempotentReply.objects.filter(created_at__lt=Now() - KEPT_FOR))
