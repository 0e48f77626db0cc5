"""How an address says that it will go: in each of its answers, and in the OpenAPI document.

`Deprecation` is RFC 9745, `Sunset` RFC 8594, the relation `successor-version` RFC 5829. An address is deprecated long
before it goes; between the two dates it works as ever.

    @deprecated(Deprecation(since=datetime(2027, 1, 1, tzinfo=UTC), docs="/api/redoc/"), "list_all")
    class OldViewSet(...):
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.http.response import HttpResponseBase
from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.views import APIView

View = TypeVar("View", bound=type[APIView])


@dataclass(frozen=True)
class Deprecation:
    """Since when an address is deprecated, when it goes (None: not decided), where to read of it, what takes its
    place. Raises ValueError where it would go before it is deprecated, which RFC 9745, section 4, forbids."""

    since: datetime
    docs: str
    sunset: datetime | None = None
    successor: str = ""

    def __post_init__(self) -> None:
        if self.sunset and self.sunset < self.since:
            raise ValueError("An address can't go before it is deprecated.")

    def add_to(self, response: HttpResponseBase) -> None:
        """The headers; links that the answer has already stay."""
        response["Deprecation"] = f"@{int(self.since.timestamp())}"
        if self.sunset:
            response["Sunset"] = http_date(self.sunset.timestamp())
        links = [response.get("Link", ""), f'<{self.docs}>; rel="deprecation"; type="text/html"']
        links.append(f'<{self.successor}>; rel="successor-version"' if self.successor else "")
        response["Link"] = ", ".join(filter(None, links))

    def parameters(self) -> list[OpenApiParameter]:
        """The headers, for the schema."""
        told = {"Deprecation": "Since when it is deprecated: `@` and a Unix time (RFC 9745)."}
        if self.sunset:
            told["Sunset"] = "When it goes (RFC 8594)."
        return [
            OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, response=True, description=words)
            for name, words in told.items()
        ]


def deprecated(how: Deprecation, *actions: str) -> Callable[[View], View]:
    """For a view of Django REST framework: all of it, or only these actions of a view set. The outermost decorator."""

    def decorate(view: View) -> View:
        finalize = view.finalize_response

        def finalize_response(self: Any, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
            response = finalize(self, request, response, *args, **kwargs)
            if not actions or getattr(self, "action", None) in actions:
                how.add_to(response)  # errors too: whoever asks is told
            return response

        view.finalize_response = finalize_response  # type: ignore[method-assign]
        shown = extend_schema(deprecated=True, parameters=how.parameters())
        decorated: View = extend_schema_view(**dict.fromkeys(actions, shown))(view) if actions else shown(view)
        return decorated

    return decorate
