"""Addresses of the service that this one replaces."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, path


def with_or_without_slash(route: str, view_set: Any, actions: dict[str, str]) -> list[URLPattern]:
    """An original path, which is known by both spellings; the schema shows the one without."""
    return [
        path(f"{route}/", view_set.as_view(actions, schema=None)),
        path(route, view_set.as_view(actions)),
    ]
