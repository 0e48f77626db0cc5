"""The menu of the admin: by subject, and with whatever else there is."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.test import Client
from django_celery_results.models import TaskResult

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
def test_the_menu_names_the_results_of_tasks_once_beside_the_doctor(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada"))

    page = client.get("/admin/").content.decode()

    service = page[page.index('<ul aria-labelledby="subject-service">') :].split("</ul>")[0]
    assert re.findall(">([^<]+)</a>", service) == ["Doctor", "Task results"]
    assert page.count("django_celery_results") == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("/admin/accounts/user/{pk}/delete/", "Dashboard › Users › ada › Delete"),
        ("/admin/accounts/user/{pk}/history/", "Dashboard › Users › ada › History"),
        ("/admin/accounts/user/{pk}/password/", "Dashboard › Users › ada › Password"),
        ("/admin/password_change/", "Dashboard › Password"),
        ("/admin/password_change/done/", "Dashboard › Password"),
        ("/admin/accounts/", "Dashboard › Accounts"),
    ],
)
def test_pages_of_django_show_the_same_way_as_ours(client: Client, address: str, way: str) -> None:
    ada = User.objects.create_superuser("ada")
    client.force_login(ada)

    page = client.get(address.format(pk=ada.pk)).content.decode()

    assert way_of(page) == way


@pytest.mark.django_db
def test_so_does_the_page_that_asks_before_many_are_deleted(client: Client) -> None:
    ada = User.objects.create_superuser("ada")
    client.force_login(ada)

    page = client.post("/admin/accounts/user/", {"action": "delete_selected", "_selected_action": ada.pk})

    assert way_of(page.content.decode()) == "Dashboard › Users › Delete"


def way_of(page: str) -> str:
    crumbs = page[page.index('<div class="breadcrumbs">') :].split("</div>")[0]
    return " ".join(html.unescape(re.sub("<[^>]+>", "", crumbs)).split())


@pytest.mark.django_db
def test_what_the_clean_up_came_to_is_shown_with_what_stopped_it(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    store = TaskResult.objects.store_result
    store("application/json", "utf-8", "1", '{"files": 3}', "SUCCESS", task_name="products.tasks.remove_orphan_files")
    stopped = "Traceback (most recent call last):\n  somewhere\nOSError: The bucket is away.\n"
    store(
        "application/json", "utf-8", "2", "{}", "FAILURE", traceback=stopped, task_name="odata.tasks.remove_what_is_old"
    )

    page = html.unescape(client.get("/admin/django_celery_results/taskresult/").content.decode())

    assert '{"files": 3}' in page
    assert "<summary>OSError: The bucket is away.</summary>" in page
    assert stopped in page
