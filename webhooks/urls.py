"""Addresses of webhooks, for programs."""

from __future__ import annotations

from django.urls import path

from webhooks.api.event_types import EventTypesView

urlpatterns = [
    path("api/v1/webhooks/event-types/", EventTypesView.as_view(), name="webhook-event-types"),
]
