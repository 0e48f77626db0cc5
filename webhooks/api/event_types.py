"""`/api/v1/webhooks/event-types/`: what there is to be told."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from common.openapi import problems
from webhooks.event_types import EVENT_TYPES


class EventTypeDocument(serializers.Serializer):
    """A type of event."""

    name = serializers.CharField(help_text="As `type` of the body has it, and `event_types` of an endpoint.")
    description = serializers.CharField(help_text="When it is sent.")
    schema = serializers.DictField(help_text="JSON Schema (draft 2020-12) of the body.")
    example = serializers.DictField(help_text="A body.")


class EventTypesDocument(serializers.Serializer):
    """All types of events."""

    results = EventTypeDocument(many=True, help_text="In the order of the documentation.")


class EventTypesView(APIView):
    required_scopes = {"get": {Scope.READ, Scope.WEBHOOKS}}

    @extend_schema(
        operation_id="webhooks_event_types_list",
        tags=["webhooks"],
        summary="List the types of events",
        description="Each with the JSON Schema of its body and an example.",
        responses={200: EventTypesDocument, **problems()},
    )
    def get(self, request: Request) -> Response:
        return Response(
            {
                "results": [
                    {"name": each.name, "description": each.sentence, "schema": each.schema, "example": each.example}
                    for each in EVENT_TYPES.values()
                ]
            }
        )
