"""What a log line may say: which address was asked and what went wrong, but no secret, and nothing of a row.

People paste tokens into addresses, and search for what they look for: so of a query there are the names alone.
PostgreSQL's errors quote the values that they are about, in lines of their own (protocol-error-fields): these go.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote

import structlog
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware

from common import request_ids
from common.client_ip import client_ip

HIDDEN = "…"
SECRET_PATHS = re.compile(r"^(/setup/|/webhooks/(?:del_by_url|update_by_id)/).+", re.DOTALL)
"""Addresses that hold a secret: the link to the first administrator, and receivers, in whose URLs are often keys."""
ENDS = r"(?=^(?:DETAIL|HINT|CONTEXT|QUERY|WHERE|LINE \d+|Traceback|The above|During handling)|^\s*$|\Z)"
QUOTING = re.compile(rf"^(DETAIL|CONTEXT|QUERY|WHERE|LINE \d+):.*?{ENDS}", re.MULTILINE | re.DOTALL)
"""The fields of an error that may quote a row, a statement with its values, or a line of a file."""
BAD_VALUE = re.compile(r"(invalid input [^:\n]*: )[^\n]+")
"""The one kind of message that ends in the value itself."""


def shown_path(path: str) -> str:
    """Without secrets, in one line, and with nothing that a terminal would obey."""
    path = SECRET_PATHS.sub(rf"\1{HIDDEN}", path)
    if path.isprintable():
        return path
    return "".join(each if each.isprintable() else quote(each, errors="replace") for each in path)


def shown_address(request: HttpRequest) -> str:
    """The path, and the names of the parameters."""
    names = [name for name, _ in parse_qsl(request.META.get("QUERY_STRING", ""))]
    return shown_path(request.path) + ("?" + "&".join(f"{name}={HIDDEN}" for name in names) if names else "")


def without_quotes(text: str) -> str:
    """An error's words without the values that it quotes."""
    return BAD_VALUE.sub(rf"\1{HIDDEN}", QUOTING.sub(rf"\1: {HIDDEN}\n", text)).rstrip("\n")


def hide(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last word on every line, of ours and of libraries: a processor of structlog, after tracebacks are text."""
    request = event.get("request")
    if isinstance(request, HttpRequest):  # Django's own lines, as "Not Found: /some/path"
        event["request"] = f"{request.method} {shown_address(request)}"
        event["event"] = f"{str(event['event']).partition(': /')[0]}: {shown_path(request.path)}"
    for name in ("event", "error", "exception"):
        if isinstance(event.get(name), str):
            event[name] = without_quotes(event[name])
    return event


WRITER = logging.getLogger(RequestMiddleware.__module__)
"""Of the lines of requests."""


class RequestLogMiddleware(RequestMiddleware):
    """One line for each request, when it ends, by an address that may be shown."""

    def prepare(self, request: HttpRequest) -> None:
        """Add the request's id and where it comes from to every line of the log."""
        structlog.contextvars.bind_contextvars(request_id=request.META[request_ids.META], ip=client_ip(request))

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write the line. Where none is wanted, spare the look at who asked for what: a tenth of a quick request."""
        ended_well = not (response.streaming or hasattr(request, "_raised_exception"))
        if ended_well and not WRITER.isEnabledFor(self._log_level_for_status_code(response.status_code)):
            structlog.contextvars.clear_contextvars()
        else:
            super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {shown_address(request)}"
