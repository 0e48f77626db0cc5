"""`/api/v1/webhooks/deliveries/` and `/attempts/`: what was sent, what came of it, and once more."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.errors import NotFoundError
from common.fields import read_fields
from common.ids import first_uuid7
from common.openapi import problems
from common.pagination import NewestFirst
from common.parameters import choice, identifier, moment
from webhooks import deliveries
from webhooks.api.documents import attempt_document, delivery_detail, delivery_document
from webhooks.api.endpoints import visible_endpoint
from webhooks.api.serializers import AttemptDocument, DeliveryDetail, DeliveryDocument, Redelivered, Redelivery
from webhooks.event_types import NAMES
from webhooks.models import Attempt, Delivery

DELIVERY = OpenApiParameter("delivery_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Of the delivery.")
ATTEMPT = OpenApiParameter("attempt_id", OpenApiTypes.UUID, OpenApiParameter.PATH, description="Of the attempt.")
ENDPOINT = OpenApiParameter("endpoint", OpenApiTypes.UUID, description="Only those of this endpoint.")
SINCE = OpenApiParameter("since", OpenApiTypes.DATETIME, description="Only those made at this time or later.")
UNTIL = OpenApiParameter("until", OpenApiTypes.DATETIME, description="Only those made before this time.")


@extend_schema(tags=["webhooks"])
class DeliveryViewSet(IdempotentPosts, GenericViewSet):
    queryset = Delivery.objects.all()
    serializer_class = DeliveryDocument
    pagination_class = NewestFirst
    required_scopes = {key: {Scope.WEBHOOKS} for key in ("list", "retrieve", "redeliver", "redeliver_many")}

    @extend_schema(
        operation_id="webhooks_deliveries_list",
        summary="List deliveries",
        description="Newest first.",
        parameters=[
            ENDPOINT,
            OpenApiParameter("state", OpenApiTypes.STR, enum=Delivery.State.values, description="Only in this state."),
            OpenApiParameter("event_type", OpenApiTypes.STR, enum=NAMES, description="Only events of this type."),
            SINCE,
            UNTIL,
        ],
        responses={200: DeliveryDocument(many=True), **problems()},
    )
    def list(self, request: Request) -> Response:
        found = _filtered(Delivery.objects.visible_to(request.user), request)
        if state := choice(request, "state", Delivery.State.values):
            found = found.filter(state=state)
        if event_type := choice(request, "event_type", NAMES):
            found = found.filter(event_type=event_type)
        page = self.paginate_queryset(found) or []
        return self.get_paginated_response([delivery_document(delivery) for delivery in page])

    @extend_schema(
        operation_id="webhooks_deliveries_retrieve",
        summary="Read a delivery",
        description="With the body that is sent, and the latest attempts to send it.",
        parameters=[DELIVERY],
        responses={200: DeliveryDetail, **problems(404)},
    )
    def retrieve(self, request: Request, delivery_id: str) -> Response:
        return Response(delivery_detail(_visible(request, Delivery, delivery_id)))

    @extend_schema(
        operation_id="webhooks_deliveries_redeliver",
        summary="Deliver once more",
        description="With the same `webhook-id` and a new time. Attempts are counted anew.",
        parameters=[DELIVERY],
        request=None,
        responses={202: DeliveryDocument, **problems(404, 409)},
    )
    def redeliver(self, request: Request, delivery_id: str) -> Response:
        delivery = _visible(request, Delivery, delivery_id)
        return Response(delivery_document(deliveries.redeliver(delivery)), status=202)

    @extend_schema(
        operation_id="webhooks_deliveries_redeliver_many",
        summary="Deliver many once more",
        description="Those with these ids, or those of an endpoint since a time: failed ones unless `state` says else.",
        request=Redelivery,
        examples=[
            OpenApiExample(
                "What failed since a time",
                {"endpoint": "0190163d-8694-739b-aea5-966c26f8ad90", "since": "2026-03-01T12:00:00Z"},
                request_only=True,
            )
        ],
        responses={202: Redelivered, **problems(404, 415)},
    )
    def redeliver_many(self, request: Request) -> Response:
        wanted = read_fields(Redelivery, request)
        found: QuerySet[Delivery]
        if "ids" in wanted:
            found = Delivery.objects.visible_to(request.user).filter(pk__in=wanted["ids"])
        else:
            endpoint = visible_endpoint(request, wanted["endpoint"])
            state = wanted.get("state", Delivery.State.FAILED)
            found = deliveries.of_period(endpoint, wanted["since"], wanted.get("until"), state)
        return Response({"redelivered": deliveries.redeliver_many(found)}, status=202)


@extend_schema(tags=["webhooks"])
class AttemptViewSet(GenericViewSet):
    queryset = Attempt.objects.all()
    serializer_class = AttemptDocument
    pagination_class = NewestFirst
    required_scopes = {key: {Scope.WEBHOOKS} for key in ("list", "retrieve")}

    @extend_schema(
        operation_id="webhooks_attempts_list",
        summary="List attempts",
        description="Newest first.",
        parameters=[
            ENDPOINT,
            OpenApiParameter("delivery", OpenApiTypes.UUID, description="Only those of this delivery."),
            SINCE,
            UNTIL,
        ],
        responses={200: AttemptDocument(many=True), **problems()},
    )
    def list(self, request: Request) -> Response:
        found = _filtered(Attempt.objects.visible_to(request.user), request)
        if delivery := identifier(request, "delivery"):
            found = found.filter(delivery_id=delivery)
        page = self.paginate_queryset(found) or []
        return self.get_paginated_response([attempt_document(attempt) for attempt in page])

    @extend_schema(
        operation_id="webhooks_attempts_retrieve",
        summary="Read an attempt",
        description="The request, and what came of it.",
        parameters=[ATTEMPT],
        responses={200: AttemptDocument, **problems(404)},
    )
    def retrieve(self, request: Request, attempt_id: str) -> Response:
        return Response(attempt_document(_visible(request, Attempt, attempt_id)))


def _filtered(found: QuerySet[Any], request: Request) -> QuerySet[Any]:
    """By endpoint and time. The ids begin with the time, and the tables are cut by them."""
    if endpoint := identifier(request, "endpoint"):
        found = found.filter(endpoint_id=endpoint)
    if since := moment(request, "since"):
        found = found.filter(id__gte=first_uuid7(since))
    if until := moment(request, "until"):
        found = found.filter(id__lt=first_uuid7(until))
    return found


def _visible(request: Request, model: type[Any], row_id: str) -> Any:
    """The row, if there is one and this person may know of it. Raises NotFoundError."""
    try:
        return model.objects.visible_to(request.user).get(pk=uuid.UUID(row_id))
    except (ValueError, model.DoesNotExist):
        raise NotFoundError(
            f"There is no {model._meta.verbose_name} with this id that you may see; it may be too old to be kept."
        ) from None
