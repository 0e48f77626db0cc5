"""JSON of the API's answers, and how it is settled on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder


class ShortNegotiation(DefaultContentNegotiation):
    """DRF's, with a short way to the same end for requests that leave the choice to us, or ask for the usual."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        usual = next(iter(renderers))
        if request.META.get("HTTP_ACCEPT", "*/*") in ("*/*", usual.media_type) and not (
            format_suffix or "format" in request.query_params
        ):
            return usual, str(usual.media_type)
        found: tuple[BaseRenderer, str] = super().select_renderer(request, renderers, format_suffix)
        return found


JsonText = orjson.Fragment
"""A value that is JSON already, such as PostgreSQL gives it: it goes into the answer as it is."""


class _Encoder(JSONEncoder):
    """DRF's, for what orjson does not take."""

    def default(self, obj: Any) -> Any:
        return json.loads(orjson.dumps(obj)) if isinstance(obj, JsonText) else super().default(obj)


_encoder = _Encoder()


class FastJSONRenderer(JSONRenderer):
    """DRF's JSON, written by orjson. Times in UTC end in Z, decimals are text: as DRF has it.

    What orjson does not take, such as whole numbers of more than 64 bits in a product's attributes, DRF writes.
    """

    encoder_class = _Encoder

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None or "indent" in (accepted_media_type or ""):
            return bytes(super().render(data, accepted_media_type, renderer_context))
        try:
            return orjson.dumps(data, default=_encoder.default, option=orjson.OPT_UTC_Z)
        except orjson.JSONEncodeError:
            return bytes(super().render(data, accepted_media_type, renderer_context))
