"""Which socket is at which path. Ids of any form match: a wrong one is told so by a close code."""

from __future__ import annotations

from django.urls import re_path

from products.consumers import ImportConsumer, NothingHereConsumer, TaskConsumer

websocket_urlpatterns = [
    re_path(r"^ws/imports/(?P<import_id>[^/]+)/?$", ImportConsumer.as_asgi()),
    re_path(r"^webhooks/task-monitor/(?P<import_id>[^/]+)/?$", TaskConsumer.as_asgi()),
    re_path(r"", NothingHereConsumer.as_asgi()),
]
