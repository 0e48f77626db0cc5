"""Errors that no view has answered, and what others' middleware need not do."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.messages.storage import default_storage
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject, SimpleLazyObject, empty

from common.errors import InvalidInputError
from common.explain import Problem, explain
from common.problems import problem_response

LEFT_TO_DJANGO = (Http404, PermissionDenied, SuspiciousOperation, BadRequest, MultiPartParserError)
"""It logs these in its own way, then calls our handler400, 403 or 404."""

SENTENCES = {
    405: "This address does not take that method. The Allow header names those that it takes.",
}


def forget_unknown_user(request: HttpRequest) -> None:
    """Take a request whose session nobody has looked up yet for nobody's.

    The log notes the user's id at the end of every request, and would look it up in a database that
    may be what is away: that would make the caller wait for as long again, and fail once more.
    """
    if unseen(getattr(request, "user", None)):
        request.user = AnonymousUser()


def unseen(lazy: object) -> bool:
    """Whether nobody has looked yet at what is made when somebody does."""
    return isinstance(lazy, LazyObject) and lazy.__dict__.get("_wrapped") is empty


class LazyMessageMiddleware(MessageMiddleware):
    """Django's, for requests of people: those of programs, which look at no message, make no store for them."""

    def process_request(self, request: HttpRequest) -> None:
        request._messages = SimpleLazyObject(lambda: default_storage(request))  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if unseen(getattr(request, "_messages", None)):
            return response
        return super().process_response(request, response)


class ProblemMiddleware:
    """Gives every error the one shape, where it did not come out of Django REST framework."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._refuse_nul(request) or self.get_response(request)
        if response.status_code == 301 and request.method not in ("GET", "HEAD"):
            response.status_code = 308  # the slash was missing: a 301 would lose the method and the body
        if isinstance(response, HttpResponse) and response.status_code >= 400 and not response.content:
            response = self._fill(request, response)
        if response.status_code in (204, 304):
            # RFC 9110, section 8.6: not in a 204, nor one of 0 in a 304, though CommonMiddleware sets it
            del response["Content-Length"]
        if response.status_code == 503:
            forget_unknown_user(request)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer an expected error of a plain Django view; a bug stays Django's, which logs it."""
        problem = None if isinstance(exception, LEFT_TO_DJANGO) else explain(exception)
        return problem_response(request, problem) if problem else None

    def _refuse_nul(self, request: HttpRequest) -> HttpResponse | None:
        """PostgreSQL takes no NUL in text; stopped here, it can't reach any lookup."""
        if "\0" not in request.path and "%00" not in request.META.get("QUERY_STRING", ""):
            return None
        error = InvalidInputError("An address can't hold a NUL character (%00).", code="nul_character")
        return problem_response(request, error)

    def _fill(self, request: HttpRequest, empty: HttpResponse) -> HttpResponse:
        """An error answer without a word in it, such as Django's 405, told in our shape."""
        status = empty.status_code
        title = empty.reason_phrase
        code = title.lower().replace(" ", "_")
        headers = {name: value for name, value in empty.items() if not name.lower().startswith("content-")}
        return problem_response(request, Problem(status, code, title, SENTENCES.get(status, f"{title}."), (), headers))
