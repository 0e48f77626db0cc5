"""A disk with no room left: a file is refused before it is read, and all the rest goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from products import catalogue
from products.models import Import

pytestmark = pytest.mark.django_db(transaction=True)
MB = 1024 * 1024


@pytest.fixture
def disk(file_store: Path) -> Iterator[Path]:
    """The file store on a disk of 70 MB of its own, all of which but a few bytes is used."""
    file_store.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=70m", "tmpfs", str(file_store)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be made by root")
    try:
        yield file_store
    finally:
        subprocess.run(["umount", str(file_store)], check=True)


@pytest.fixture
def client(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb") as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(b"x" * MB)
            filler.flush()


class Unread(BytesIO):
    """A body that nobody may read."""

    def read(self, *args: object) -> bytes:
        raise AssertionError("the body was read")


def test_a_file_without_room_is_refused_before_it_is_read(disk: Path, client: Client) -> None:
    body = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(10 * MB), "CONTENT_TYPE": "text/csv"}

    answer = client.post("/api/v1/imports/", **body)

    assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
    assert "has 10,485,760 bytes, and this server has room for 6,291,456 at the moment" in answer.json()["detail"]


def test_on_a_full_disk_files_are_refused_in_every_way_and_the_rest_goes_on(disk: Path, client: Client) -> None:
    catalogue.create_product({"sku": "A", "name": "Anna"}, actor=None)
    fill(disk)
    file = b"sku,name\nB,Bert\n"

    by_api = client.post("/api/v1/imports/", data=file, content_type="text/csv")
    by_form = client.post("/api/v1/imports/", data={"file": SimpleUploadedFile("b.csv", file)})
    by_page = client.post("/imports/new/", data={"file": SimpleUploadedFile("b.csv", file)})
    in_parts = client.post("/files/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "16"})
    edited = client.patch("/api/v1/products/A/", data={"name": "Ann"}, content_type="application/json")

    assert [answer.status_code for answer in (by_api, by_form, by_page, in_parts)] == [507] * 4
    assert edited.status_code == 200
    assert client.get("/api/v1/products/A/").json()["name"] == "Ann"
    assert client.get("/imports/").status_code == 200
    assert not Import.objects.exists()
    (disk / "filler").unlink()
    assert client.post("/api/v1/imports/", data=file, content_type="text/csv").status_code == 202
