"""`/api/v1/webhooks/`: who is told what."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.errors import NotFoundError
from common.fields import read_fields
from common.openapi import problems
from common.pagination import KeysetPages
from webhooks import deliveries, endpoints
from webhooks.api.documents import attempt_document, endpoint_documents
from webhooks.api.serializers import (
    AttemptDocument,
    EndpointDocument,
    EndpointFields,
    EndpointPatch,
    EndpointTest,
    MadeEndpoint,
    NewEndpoint,
    Rotation,
)
from webhooks.models import WebhookEndpoint

ID = OpenApiParameter("endpoint_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Of the endpoint.")
REPLACED_BY: dict[str, Any] = {
    **{name: getattr(WebhookEndpoint(), name, None) for name in EndpointFields._declared_fields if name != "url"},
    "event_types": endpoints.default_event_types(),
    "headers": {},
}
"""What PUT gives the fields that its body leaves out: what a new endpoint has."""


@extend_schema_view(
    list=extend_schema(
        summary="List webhook endpoints",
        description="Your own, or all of them if you may see those of others.",
        responses={200: EndpointDocument(many=True), **problems()},
    ),
    create=extend_schema(
        summary="Make a webhook endpoint",
        description="The answer holds its secret: keep it, it is not shown again.",
        request=NewEndpoint,
        responses={201: MadeEndpoint, **problems(415)},
    ),
    retrieve=extend_schema(
        summary="Read a webhook endpoint",
        description="With how it fares. Its secrets, and the values of its headers, are never shown.",
        parameters=[ID],
        responses={200: EndpointDocument, **problems(404)},
    ),
    update=extend_schema(
        summary="Replace a webhook endpoint",
        description="Fields that are left out get their defaults. Its secrets stay.",
        parameters=[ID],
        request=EndpointFields,
        responses={200: MadeEndpoint, **problems(404, 415)},
    ),
    partial_update=extend_schema(
        summary="Change a webhook endpoint",
        description="`secret` in the answer is null, unless the endpoint had none and begins to sign by `v1` now.",
        parameters=[ID],
        request=EndpointPatch,
        responses={200: MadeEndpoint, **problems(404, 415)},
    ),
    destroy=extend_schema(
        summary="Remove a webhook endpoint",
        description="What it was still to be told is discarded. The log of its deliveries stays.",
        parameters=[ID],
        responses={204: None, **problems(404)},
    ),
)
@extend_schema(tags=["webhooks"])
class EndpointViewSet(IdempotentPosts, GenericViewSet):
    queryset = WebhookEndpoint.objects.all()
    serializer_class = EndpointDocument
    pagination_class = KeysetPages
    required_scopes = {
        key: {Scope.WEBHOOKS}
        for key in (
            "list",
            "create",
            "retrieve",
            "update",
            "partial_update",
            "destroy",
            "rotate",
            "test",
            "pause",
            "resume",
        )
    }

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(visible_endpoints(request)) or []
        return self.get_paginated_response(endpoint_documents(page))

    def create(self, request: Request) -> Response:
        fields = read_fields(NewEndpoint, request)
        secret = fields.pop("secret", "")
        endpoint, shown = endpoints.create(fields, actor=person(request), secret=secret)
        location = reverse("api-endpoint-detail", args=[endpoint.pk])
        return Response(made(endpoint, shown), status=201, headers={"Location": location})

    def retrieve(self, request: Request, endpoint_id: str) -> Response:
        return Response(endpoint_documents([visible_endpoint(request, endpoint_id)])[0])

    def update(self, request: Request, endpoint_id: str) -> Response:
        fields = read_fields(EndpointFields, request)
        return self._write(request, endpoint_id, {**REPLACED_BY, **fields})

    def partial_update(self, request: Request, endpoint_id: str) -> Response:
        return self._write(request, endpoint_id, read_fields(EndpointPatch, request))

    def _write(self, request: Request, endpoint_id: str, fields: dict[str, Any]) -> Response:
        endpoint, shown = endpoints.update(visible_endpoint(request, endpoint_id), fields, actor=person(request))
        return Response(made(endpoint, shown))

    def destroy(self, request: Request, endpoint_id: str) -> Response:
        endpoints.delete(visible_endpoint(request, endpoint_id), actor=person(request))
        return Response(status=204)

    @extend_schema(
        operation_id="webhooks_rotate",
        summary="Change the secret of a webhook endpoint",
        description="The old one signs as well until `overlap_hours` are over: receivers accept either meanwhile.",
        parameters=[ID],
        request=Rotation,
        responses={200: MadeEndpoint, **problems(404, 409, 415)},
    )
    def rotate(self, request: Request, endpoint_id: str) -> Response:
        wanted = read_fields(Rotation, request)
        endpoint = visible_endpoint(request, endpoint_id)
        overlap = timedelta(hours=wanted["overlap_hours"])
        secret = endpoints.rotate(endpoint, overlap, actor=person(request))
        return Response(made(visible_endpoint(request, endpoint_id), secret))

    @extend_schema(
        operation_id="webhooks_test",
        summary="Send an example to a webhook endpoint",
        description="At once, and the answer is what came of it. It is in the log too, and is not tried again.",
        parameters=[ID],
        request=EndpointTest,
        responses={200: AttemptDocument, **problems(404, 415)},
    )
    def test(self, request: Request, endpoint_id: str) -> Response:
        wanted = read_fields(EndpointTest, request)
        attempt = deliveries.send_test(visible_endpoint(request, endpoint_id), wanted["event_type"])
        return Response(attempt_document(attempt))

    @extend_schema(
        operation_id="webhooks_pause",
        summary="Pause a webhook endpoint",
        description="Its deliveries wait until it is resumed, for 30 days at most or what the operator has set.",
        parameters=[ID],
        request=None,
        responses={200: EndpointDocument, **problems(404)},
    )
    def pause(self, request: Request, endpoint_id: str) -> Response:
        return self._switch(request, endpoint_id, False)

    @extend_schema(
        operation_id="webhooks_resume",
        summary="Resume a webhook endpoint",
        description="What waited for it is delivered now, at the endpoint's rate.",
        parameters=[ID],
        request=None,
        responses={200: EndpointDocument, **problems(404)},
    )
    def resume(self, request: Request, endpoint_id: str) -> Response:
        return self._switch(request, endpoint_id, True)

    def _switch(self, request: Request, endpoint_id: str, enabled: bool) -> Response:
        endpoint, _ = endpoints.update(
            visible_endpoint(request, endpoint_id), {"enabled": enabled}, actor=person(request)
        )
        return Response(endpoint_documents([endpoint])[0])


def visible_endpoint(request: Request, endpoint_id: Any) -> WebhookEndpoint:
    """The endpoint, if there is one and this person may know of it. Raises NotFoundError."""
    try:
        endpoint: WebhookEndpoint = visible_endpoints(request).get(pk=uuid.UUID(str(endpoint_id)))
    except (ValueError, WebhookEndpoint.DoesNotExist):
        raise NotFoundError("There is no webhook endpoint with this id that you may see.") from None
    return endpoint


def visible_endpoints(request: Request) -> Any:
    """Those that this person may know of."""
    found = WebhookEndpoint.objects.visible_to(request.user)
    return found.select_related("created_by").prefetch_related("secrets")


def made(endpoint: WebhookEndpoint, shown: str | None) -> dict[str, Any]:
    """The endpoint with its secret, if there is a new one."""
    return {**endpoint_documents([endpoint])[0], "secret": shown}
