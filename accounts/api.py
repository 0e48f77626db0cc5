"""`/api/v1/sockets/tickets/`: tickets for WebSockets."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.idempotency import IdempotentPosts
from accounts.models import ApiToken, Scope
from accounts.tickets import issue_ticket
from common.errors import InvalidInputError
from common.openapi import TAKES_NO_KEY, problems


class Ticket(serializers.Serializer):
    """Opens one WebSocket."""

    ticket = serializers.CharField(help_text="Open the socket with `?ticket=` and this. It works once.")
    expires_at = serializers.DateTimeField(help_text="Thirty seconds from now.")


class TicketView(IdempotentPosts):
    takes_no_key_because = (
        "A ticket works once and for 30 seconds, so an answer that is given again is worth nothing. Ask for another "
        "ticket, without an Idempotency-Key: one that is not used does no harm."
    )
    required_scopes = {"post": {Scope.READ, Scope.IMPORT}}

    @extend_schema(
        tags=["sockets"],
        operation_id="sockets_tickets_create",
        summary="A ticket for one WebSocket",
        description="For programs in browsers, which can't send `Authorization` with the handshake of a WebSocket. "
        "Needs a token: a session opens sockets by its cookie.",
        request=None,
        responses={201: Ticket, **problems(400, 401, 403)},
        extensions={TAKES_NO_KEY: True},
    )
    def post(self, request: Request) -> Response:
        if not isinstance(request.auth, ApiToken):
            raise InvalidInputError(
                "Tickets are for tokens. A session needs none: its cookie opens the socket.", code="ticket_needs_token"
            )
        ticket, expires_at = issue_ticket(request.auth)
        response = Response({"ticket": ticket, "expires_at": expires_at}, status=201)
        response["Cache-Control"] = "no-store"
        return response
