"""Addresses that fail in every way that a view can; the tests of errors call them."""

from __future__ import annotations

from typing import Any

from django.core import exceptions as django
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.utils import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import require_http_methods
from psycopg_pool import PoolTimeout
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.errors import ConflictError, FieldError, InvalidInputError, UnavailableError

handler400 = "common.problems.bad_request"
handler403 = "common.problems.permission_denied"
handler404 = "common.problems.page_not_found"
handler500 = "common.problems.server_error"


def run_out_of_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(5)")


def store_nul() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["\0"])


def divide_by_zero() -> None:
    raise ZeroDivisionError("the secret of this machine")


def throw(exc: Exception) -> Any:
    def thrower() -> None:
        raise exc

    return thrower


FAILURES: dict[str, Any] = {
    "conflict": throw(ConflictError("It has ended.", code="import_finished")),
    "fields": throw(InvalidInputError("Bad.", errors=[FieldError("/mode", "invalid_choice", "No such mode.")])),
    "later": throw(UnavailableError("Come again.", retry_after=7)),
    "missing": throw(Http404("No Product matches the given query.")),
    "forbidden": throw(django.PermissionDenied("You may not cancel imports.")),
    "model-rule": throw(ValidationError({"sku": ValidationError("Too long.", code="max_length")})),
    "nested-rule": throw(drf.ValidationError({"rows": [{}, {"a/b": ["Wrong."]}], "non_field_errors": ["Both."]})),
    "throttled": throw(drf.Throttled(wait=3)),
    "suspicious": throw(django.SuspiciousOperation("x")),
    "too-big": throw(django.RequestDataTooBig("x")),
    "database-down": throw(OperationalError("connection refused to 10.1.2.3")),
    "pool-empty": throw(PoolTimeout("couldn't get a connection after 5.00 sec")),
    "disk-full": throw(OSError(28, "No space left on device")),
    "slow-statement": run_out_of_time,
    "nul": store_nul,
    "bug": divide_by_zero,
}


class Body(serializers.Serializer[Any]):
    name = serializers.CharField()
    age = serializers.IntegerField()


class Failing(APIView):
    """An API view, open to everybody."""

    permission_classes = ()
    authentication_classes = ()

    def get(self, request: Request, kind: str) -> Response:
        FAILURES[kind]()
        return Response()

    def post(self, request: Request, kind: str) -> Response:
        body = Body(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(body.data)


@require_http_methods(["GET", "POST"])
def failing_page(request: HttpRequest, kind: str) -> HttpResponse:
    """The same of a plain Django view."""
    FAILURES[kind]()
    return HttpResponse("well")


urlpatterns = [
    path("api/fail/<str:kind>/", Failing.as_view()),
    path("api/plain/<str:kind>/", failing_page),
    path("page/<str:kind>/", failing_page),
]
