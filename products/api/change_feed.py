"""`/api/v1/changes/`: what changed in the catalogue, or what one import changed, page by page or whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from django.db import connection
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from common.errors import ConflictError, NotFoundError
from common.openapi import problems
from common.pagination import FeedPages, foreign_cursor
from common.parameters import choice, identifier, refuse_unknown
from products.api.changes import Field
from products.api.imports import visible_import
from products.feed import CatalogueFeed, ChangeFeed, FeedItem, ImportFeed, horizon
from products.models import Import, ProductChange

NDJSON = "application/x-ndjson"
PORTION = 5000
"""Changes that are read, and then sent, at a time."""

_as_json = json.JSONEncoder(ensure_ascii=False).encode


class FeedEntry(serializers.Serializer):
    """One change of one product."""

    id = serializers.IntegerField(help_text="Of the change.")
    product_id = serializers.IntegerField(help_text="A later product with the same sku has another one.")
    sku = serializers.CharField(help_text="Of the product.")
    action = serializers.ChoiceField(ProductChange.Action.choices, help_text="What became of it.")
    version = serializers.IntegerField(help_text="The product's version after the change.")
    changed_fields = serializers.ListField(
        child=serializers.ChoiceField(Field.choices), help_text="Of an update; empty for the others."
    )
    changed_by = serializers.CharField(allow_null=True, help_text="Username; null for nobody, or nobody any more.")
    changed_at = serializers.DateTimeField(help_text="When.")
    previous = serializers.DictField(required=False, help_text="The values before; with `values=true`.")


# `import` is no name in Python.
FeedEntry._declared_fields["import"] = serializers.UUIDField(allow_null=True, help_text="The import that did it.")


class NdjsonRenderer(BaseRenderer):
    """Says that there are lines to be had; the view makes them itself."""

    media_type = NDJSON
    format = "ndjson"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        return data


class ChangeFeedView(GenericAPIView):
    queryset = ProductChange.objects.all()
    serializer_class = FeedEntry
    pagination_class = FeedPages
    required_scopes = {"get": {Scope.READ}}

    def get_renderers(self) -> list[BaseRenderer]:
        return [*super().get_renderers(), NdjsonRenderer()]

    @extend_schema(
        operation_id="changes_list",
        tags=["products"],
        summary="Follow the changes of the catalogue",
        description=(
            "Every change of every product, in an order to which nothing is added but at the end: `next` is always "
            "there, and asked again later it leads to what came since. With `import`, what that import changed; then "
            "the last page has no `next`. As `application/x-ndjson` all of it comes at once, one change a line; lines "
            'with `next` in between say where to go on, and the last one has `"end": true`. Without that, it was cut.'
        ),
        parameters=[
            OpenApiParameter("import", OpenApiTypes.UUID, description="Only what this import changed."),
            OpenApiParameter(
                "values", OpenApiTypes.BOOL, default=False, description="Tell the values before the change, too."
            ),
            OpenApiParameter(
                "cursor", OpenApiTypes.STR, description="As `next` has it; or `now`: behind all that there is."
            ),
        ],
        responses={
            (200, "application/json"): FeedEntry(many=True),
            (200, NDJSON): OpenApiTypes.STR,
            **problems(404, 409),
        },
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        whole = request.accepted_renderer.format == "ndjson"
        if whole:
            refuse_unknown(request, ["import", "values", "cursor"])  # it has no pages
        feed = _asked_for(request)
        if whole:
            return _whole(request, feed)
        page = self.paginate_queryset(cast("Any", feed)) or []
        return self.get_paginated_response(page)


def _asked_for(request: Request) -> ChangeFeed:
    values = choice(request, "values", ("true", "false")) == "true"
    if import_id := identifier(request, "import"):
        return ImportFeed(_applied(request, str(import_id)), values)
    return CatalogueFeed(horizon(), values)


def _applied(request: Request, import_id: str) -> Import:
    """The import of this id. What it changed, everybody may see who may read the catalogue; of one that has changed
    nothing so far, only those hear who may see it. Raises NotFoundError and ConflictError."""
    import_ = Import.objects.filter(pk=import_id, state=Import.State.SUCCESS).first()
    if import_ is not None:
        return import_
    import_ = visible_import(request, import_id)
    if import_.finished:
        raise NotFoundError(
            f"The import ended otherwise: {import_.get_state_display().lower()}. It has changed nothing.",
            code="not_applied",
        )
    raise ConflictError(
        "The import is not over yet, and what it changes is not complete. Ask again when it has succeeded.",
        code="import_not_finished",
        retry_after=5,
    )


def _whole(request: Request, feed: ChangeFeed) -> StreamingHttpResponse:
    after = request.query_params.get("cursor")
    try:
        first = feed.read(after=after, limit=PORTION)  # what can go wrong does so before anything is sent
    except ValueError:
        raise foreign_cursor() from None
    return StreamingHttpResponse(_lines(feed, first, request.build_absolute_uri()), content_type=NDJSON)


def _lines(feed: ChangeFeed, portion: tuple[list[FeedItem], str | None], url: str) -> Iterator[bytes]:
    """One portion after the other, each read by itself: however slow the client is, it holds no transaction open and
    no connection."""
    while True:
        if not connection.in_atomic_block:
            connection.close()
        changes, place = portion
        end = len(changes) < PORTION or place is None
        going_on = {"next": FeedPages.link_to(url, place) if place else None, "end": end}
        yield "".join(f"{_as_json(each)}\n" for each in [*changes, going_on]).encode()
        if end or place is None:
            return
        portion = feed.read(after=place, limit=PORTION)
