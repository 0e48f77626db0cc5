"""Files in forms reach the disk by way of the views that take one, and by no other."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client, RequestFactory

from accounts.models import User
from common.form_files import take_files
from tests.test_json_bodies import Unread

pytestmark = pytest.mark.django_db
FORM = "multipart/form-data; boundary=x"


def send(client: Client, path: str) -> Any:
    """The head of a form of 6 MB."""
    return client.generic("POST", path, b"-", FORM, CONTENT_LENGTH="6000000", **{"wsgi.input": Unread()})


@pytest.mark.parametrize("path", ["/login/", "/logout/", "/setup/x/", "/admin/", "/livez"])
def test_a_large_form_of_a_stranger_is_refused_unread(path: str) -> None:
    """The CSRF token may stand in it, so it would be read to its end before anything else is looked at."""
    stranger = Client(enforce_csrf_checks=True)
    stranger.cookies["csrftoken"] = "a" * 32

    answer = send(stranger, path)

    assert answer.status_code == 413
    assert "larger" in answer.content.decode()


@pytest.mark.parametrize("path", ["/account/tokens/", "/admin/accounts/user/add/", "/admin/products/product/add/"])
def test_so_is_one_of_somebody_who_may_send_files_elsewhere(path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ada"))
    client.cookies["csrftoken"] = "a" * 32

    assert send(client, path).status_code == 413


def test_a_small_form_is_read_without_its_files() -> None:
    request = RequestFactory().post("/", {"name": "Ada", "file": SimpleUploadedFile("lamps.csv", b"sku,name\n")})

    assert request.POST.dict() == {"name": "Ada"}
    assert not request.FILES


def test_a_view_that_takes_files_has_them_on_the_disk() -> None:
    request = RequestFactory().post("/", {"name": "Ada", "file": SimpleUploadedFile("lamps.csv", b"sku,name\n")})
    take_files(request)

    file = request.FILES["file"]

    assert isinstance(file, TemporaryUploadedFile)
    assert (request.POST.dict(), file.read()) == ({"name": "Ada"}, b"sku,name\n")
    request.close()
