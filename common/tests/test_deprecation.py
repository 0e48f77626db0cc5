"""An address that will go says so, in its answers and in the schema. (None of ours is deprecated yet.)"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from common.deprecation import Deprecation, deprecated
from common.openapi import problems

SINCE, SUNSET = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
ASK = APIRequestFactory().get("/old/")
LINK = '<https://example.com/docs>; rel="deprecation"; type="text/html"'


class OpenView(APIView):
    authentication_classes = []
    permission_classes = []


@deprecated(Deprecation(SINCE, "https://example.com/docs", SUNSET, successor="/api/v1/new/"))
class OldView(OpenView):
    @extend_schema(summary="Old", responses={200: str, **problems()})
    def get(self, request: Request) -> Response:
        return Response("old", headers={"Link": '</old/?page=2>; rel="next"'})


@deprecated(Deprecation(SINCE, "https://example.com/docs"), "list")
class HalfOldViewSet(ViewSetMixin, OpenView):
    @extend_schema(summary="List", responses={200: str, **problems()})
    def list(self, request: Request) -> Response:
        raise NotFound

    @extend_schema(summary="Create", request=None, responses={201: str})
    def create(self, request: Request) -> Response:
        return Response("new")


def test_each_answer_says_since_when_until_when_and_what_instead() -> None:
    answer = OldView.as_view()(ASK)

    assert answer["Deprecation"] == "@1798761600"
    assert answer["Sunset"] == "Sat, 01 Jan 2028 00:00:00 GMT"
    assert answer["Link"] == f'</old/?page=2>; rel="next", {LINK}, </api/v1/new/>; rel="successor-version"'


def test_one_action_alone_can_be_deprecated_and_its_errors_say_so_too() -> None:
    view: Any = HalfOldViewSet.as_view({"get": "list", "post": "create"})
    old, new = view(ASK), view(APIRequestFactory().post("/old/"))

    assert (old.status_code, old["Deprecation"], old["Link"]) == (404, "@1798761600", LINK)
    assert "Sunset" not in old
    assert not {"Deprecation", "Link"} & set(new.headers)


def test_the_schema_marks_what_is_deprecated_and_describes_its_headers() -> None:
    patterns = [
        path("old/", OldView.as_view()),
        path("half/", HalfOldViewSet.as_view({"get": "list", "post": "create"})),
    ]
    paths = SchemaGenerator(patterns=patterns).get_schema(request=None, public=True)["paths"]

    assert paths["/old/"]["get"]["deprecated"] is paths["/half/"]["get"]["deprecated"] is True
    assert set(paths["/old/"]["get"]["responses"]["200"]["headers"]) == {"Deprecation", "Sunset"}
    assert paths["/old/"]["get"]["summary"] == "Old"
    assert "deprecated" not in paths["/half/"]["post"]


def test_nothing_goes_before_it_is_deprecated() -> None:
    with pytest.raises(ValueError, match="before"):
        Deprecation(SUNSET, "https://example.com/docs", sunset=SINCE)
