"""The paths of the service that this one replaces. They name endpoints by their URL; the code behind is the same."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.access import person
from accounts.idempotency import IdempotentPosts
from accounts.models import Scope
from common.errors import InvalidInputError, NotFoundError
from common.fields import read_fields
from common.openapi import problems
from webhooks import endpoints
from webhooks.api.documents import endpoint_documents
from webhooks.api.endpoints import made, visible_endpoints
from webhooks.api.serializers import EndpointDocument, MadeEndpoint, NewEndpoint
from webhooks.models import WebhookEndpoint

MOST = 1000
ON = frozenset({"true", "1", "on", "yes", "active", "enabled", "enable"})
OFF = frozenset({"false", "0", "off", "no", "inactive", "disabled", "disable", "paused"})

URL = OpenApiParameter(
    "url",
    OpenApiTypes.STR,
    OpenApiParameter.PATH,
    description="Of the endpoint, percent-encoded: `https%3A%2F%2Fshop.example.com%2Fhook`.",
)


@extend_schema(tags=["original paths"])
class OriginalWebhookViewSet(IdempotentPosts, GenericViewSet):
    """`/webhooks/create`, `/getall`, `/update_by_id/{url}/{status}` and `/del_by_url/{url}`."""

    queryset = WebhookEndpoint.objects.all()
    serializer_class = EndpointDocument
    pagination_class = None  # a plain list, as it was
    required_scopes = {key: {Scope.WEBHOOKS} for key in ("create", "list_all", "switch", "destroy")}

    @extend_schema(
        operation_id="original_webhooks_create",
        summary="Make a webhook endpoint",
        description="The answer holds its secret: keep it, it is not shown again.",
        request=NewEndpoint,
        responses={201: MadeEndpoint, **problems(415)},
    )
    def create(self, request: Request) -> Response:
        fields = read_fields(NewEndpoint, request)
        secret = fields.pop("secret", "")
        endpoint, shown = endpoints.create(fields, actor=person(request), secret=secret)
        return Response(made(endpoint, shown), status=201)

    @extend_schema(
        operation_id="original_webhooks_list",
        summary="List webhook endpoints",
        description=f"The oldest {MOST:,}; `/api/v1/webhooks/` has pages.",
        responses={200: EndpointDocument(many=True), **problems()},
    )
    def list_all(self, request: Request) -> Response:
        return Response(endpoint_documents(visible_endpoints(request)[:MOST]))

    @extend_schema(
        operation_id="original_webhooks_switch",
        summary="Turn webhook endpoints on or off",
        description="All that have this URL.",
        parameters=[
            URL,
            OpenApiParameter(
                "status",
                OpenApiTypes.STR,
                OpenApiParameter.PATH,
                enum=sorted(ON | OFF),
                description="`active` or `inactive`; also `true`, `false`, `on`, `off`, `enabled`, `disabled`.",
            ),
        ],
        request=None,
        responses={200: EndpointDocument(many=True), **problems(404)},
    )
    def switch(self, request: Request, url: str, status: str) -> Response:
        found, word = _with_url(request, url), status.lower()
        if word not in ON | OFF:
            message = f"{status[:80]!r} is no status. Say `active` or `inactive`."
            raise InvalidInputError.about("status", message)
        switched = [endpoints.update(endpoint, {"enabled": word in ON}, actor=person(request))[0] for endpoint in found]
        return Response(endpoint_documents(switched))

    @extend_schema(
        operation_id="original_webhooks_delete",
        summary="Remove webhook endpoints",
        description="All that have this URL.",
        parameters=[URL],
        responses={204: None, **problems(404)},
    )
    def destroy(self, request: Request, url: str) -> Response:
        for endpoint in _with_url(request, url):
            endpoints.delete(endpoint, actor=person(request))
        return Response(status=204)


def _with_url(request: Request, url: str) -> list[Any]:
    """The endpoints with this URL. Raises NotFoundError.

    Some proxies decode %2F, and then fold `//` into one slash: `https:/shop..` is that URL too.
    """
    text = url.replace("\0", "")
    for scheme in ("http:/", "https:/"):
        if text.startswith(scheme) and not text.startswith(f"{scheme}/"):
            text = f"{scheme}/{text.removeprefix(scheme)}"
    found = list(visible_endpoints(request).filter(url=text))
    if not found:
        raise NotFoundError(
            f"There is no webhook endpoint with the URL {text[:200]!r}. The path has it percent-encoded."
        )
    return found
