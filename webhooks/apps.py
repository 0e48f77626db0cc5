from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WebhooksConfig(AppConfig):
    name = "webhooks"

    def ready(self) -> None:
        from webhooks import outbox, tasks  # not before the apps are ready

        post_migrate.connect(_make_partitions, sender=self)
        outbox.committed.connect(tasks.nudge, dispatch_uid="webhooks.nudge")


def _make_partitions(**kwargs: Any) -> None:
    from webhooks import partitions  # not before the apps are ready

    partitions.make_ahead()
