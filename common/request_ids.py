"""The name of a request, from the edge through the tasks it starts to the logs, the audit log and the error it ends in.

A proxy in front, or the client itself, may give it in `X-Request-ID`; else it is made here. It stands in logs and in
the database, so what a stranger sends has a shape and a length, or is not taken.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "X-Request-ID"
META = "HTTP_X_REQUEST_ID"
LONGEST = 64
USABLE = re.compile(rf"[A-Za-z0-9._:+/=@-]{{1,{LONGEST}}}")
"""UUIDs, ULIDs, trace ids of the W3C and of load balancers: none of them needs more."""


class RequestIdMiddleware:
    """Names each request, and its answer, whichever middleware gives that. The first of all: what follows relies on
    the header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.META.get(META, "")
        known_as = given if USABLE.fullmatch(given) else str(uuid.uuid4())
        request.META[META] = known_as  # where django-structlog looks for it
        response = self.get_response(request)
        response[HEADER] = known_as
        return response


def current() -> str:
    """The id of the request that this process works for, empty where nobody asked: for a row or a message."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:LONGEST]


@contextmanager
def working_for(request_id: str) -> Iterator[None]:
    """What is logged in here belongs to this request; if it is empty, to the one it belonged to already."""
    known = {"request_id": request_id} if request_id else {}
    with structlog.contextvars.bound_contextvars(**known):
        yield
