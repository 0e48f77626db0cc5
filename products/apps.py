from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.db.models.signals import post_migrate


class ProductsConfig(AppConfig):
    name = "products"

    def ready(self) -> None:
        post_migrate.connect(_adopt_history, sender=self)


def _adopt_history(apps: Apps = global_apps, **kwargs: Any) -> None:
    from products import feed  # not before the apps are ready

    if "changepush" in apps.all_models["products"]:  # and not where migrations go back to before it
        feed.adopt_history()
