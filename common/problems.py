"""The one shape of every error answer: RFC 9457 problem+json, with a stable `code` and the request id.

`common.explain` says what an exception means; here it becomes an answer: JSON for programs, a
page for people. Both carry the request id, which the logs carry too.
"""

from __future__ import annotations

import sys
import uuid
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.encoding import iri_to_uri

from common import request_ids
from common.errors import NotFoundError, ServiceError
from common.explain import NOTHING_HERE, SERVER_ERROR, Problem, explain

CONTENT_TYPE = "application/problem+json"
API_PATHS = ("/api/", "/products/", "/files/", "/webhooks/", "/livez", "/readyz", "/metrics")
"""Where programs call: errors are JSON whatever the Accept header says. Elsewhere people get pages."""


def problem_response(request: HttpRequest, error: ServiceError | Problem) -> HttpResponse:
    """The answer that tells `error`, as JSON or as a page."""
    problem = Problem.of(error) if isinstance(error, ServiceError) else error
    response = _json(request, problem) if wants_json(request) else _page(request, problem)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def wants_json(request: HttpRequest) -> bool:
    """Whether the client is a program: it calls an API path, or asks for JSON rather than HTML."""
    if request.path.startswith(API_PATHS):
        return True
    preferred = request.get_preferred_type(["text/html", "application/json", CONTENT_TYPE])
    return preferred not in (None, "text/html")


def request_id(request: HttpRequest) -> str:
    """The id under which the logs know this request, which `common.request_ids` has given it."""
    given: str | None = request.META.get(request_ids.META)
    if given is None:  # made by a test, without our middleware
        given = request.META[request_ids.META] = request_ids.current() or str(uuid.uuid4())
    return given


def problem_body(request: HttpRequest, problem: Problem) -> dict[str, Any]:
    """The members of the JSON body, in the order of RFC 9457, section 3.1, then ours."""
    body: dict[str, Any] = {
        "type": f"urn:odata:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "instance": iri_to_uri(request.path),
    }
    if problem.errors:
        body["errors"] = [asdict(error) for error in problem.errors]
    return body | dict(problem.extensions) | {"request_id": request_id(request)}


def _json(request: HttpRequest, problem: Problem) -> HttpResponse:
    return JsonResponse(problem_body(request, problem), status=problem.status, content_type=CONTENT_TYPE)


NEXT = {
    "permission_denied": "To go on as somebody else, log out first: the page of the imports has the button.",
    "not_found": "Is the address written right? What was here may have been removed.",
    "too_large": "Go back and send less at once. Tables of products go in by the page Upload, also large ones.",
    "internal_error": "It has been logged. Try again; if it stays so, ask for help.",
}
"""What people can do, where the sentence about what went wrong does not say it."""
NEXT_OF_FORMS = {
    "internal_error": "It has been logged. Go back and look whether it was done all the same; if not, try again.",
    "unavailable": "Go back and send it once more.",
    "busy": "Go back and send it once more.",
}
"""The same, where something was to be changed."""
MAY_PASS = (429, 500, 503)
"""The same request may be answered a moment later."""


def _page(request: HttpRequest, problem: Problem) -> HttpResponse:
    # Without the request: its context processors would ask a session and a database that may be what failed.
    looks = request.method in ("GET", "HEAD")
    next_steps = NEXT if looks else NEXT | NEXT_OF_FORMS
    context = {
        "title": problem.title,
        "detail": "" if problem is SERVER_ERROR else problem.detail,  # its title has said it
        "next_step": next_steps.get(problem.code, ""),
        "may_pass": looks and problem.status in MAY_PASS,
        "in_admin": request.path.startswith("/admin/") and problem.status != 403,
        "request_id": request_id(request),
    }
    return HttpResponse(render_to_string("error.html", context), status=problem.status)


# --- where frameworks hand over ----------------------------------------------------------------


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's hook: what a view raised becomes an answer. None: a bug, which Django logs as one."""
    problem = explain(exc)
    return problem_response(context["request"]._request, problem) if problem else None


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a request that can't be read, is too large or names another host."""
    return problem_response(request, explain(exception) or SERVER_ERROR)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return problem_response(request, explain(exception) or SERVER_ERROR)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404. What Django says (the patterns it tried) is for developers."""
    return problem_response(request, NotFoundError(NOTHING_HERE))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: a bug of ours, or a database that failed outside a view."""
    exc = sys.exc_info()[1]
    return problem_response(request, (exc and explain(exc)) or SERVER_ERROR)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's hook for a form without its CSRF token."""
    sentence = (
        "This form was not sent from one of our pages, or the page is too old. Go back, reload it, and try again."
    )
    return problem_response(request, Problem.plain(403, "csrf_failed", sentence))
