"""The menu of the admin: by subject, and with whatever else there is."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin import site
from django.test import Client

from accounts.models import User
from odata.admin_site import SUBJECTS, by_subject


def app(label: str, name: str, *models: str) -> dict[str, Any]:
    return {"app_label": label, "name": name, "models": [{"object_name": model, "name": model} for model in models]}


def test_models_stand_under_their_subject_in_its_order_and_others_under_their_app() -> None:
    apps = [
        app("accounts", "Accounts", "ApiToken", "User"),
        app("products", "Products", "Import", "Product"),
        app("suppliers", "Suppliers", "Supplier", "Order"),
    ]

    menu = [(group["name"], [model["name"] for model in group["models"]]) for group in by_subject(apps)]

    assert menu == [
        ("Catalogue", ["Product"]),
        ("Imports", ["Import"]),
        ("Accounts", ["User", "ApiToken"]),
        ("Suppliers", ["Supplier", "Order"]),
    ]


def test_every_model_of_a_subject_is_there() -> None:
    registered = {f"{model._meta.app_label}.{model._meta.object_name}" for model in site._registry}

    assert {label for labels in SUBJECTS.values() for label in labels} <= registered


@pytest.mark.django_db
def test_the_menu_has_no_results_of_tasks(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada"))

    page = client.get("/admin/").content.decode()

    assert 'aria-label="Menu"' in page
    assert "django_celery_results" not in page
