"""The first minute: a product file made up on the spot and imported the way any client would."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import ApiToken, Scope, User

SAMPLE_USER = "sample-import"
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60
"""How long the web process may be away, such as while it is started again."""

SIZES = ("XS", "S", "M", "L", "XL", "12 cm", "25 cm", "50 cm", "1 m", "2 m", "0.5 l", "1 l", "250 g")
FINISHES = ("Matte", "Brushed", "Polished", "Woven", "Coated", "Natural", "Folded", "Reinforced")
MATERIALS = ("oak", "steel", "cotton", "glass", "copper", "linen", "cork", "wool", "birch", "ceramic", "paper")
THINGS = ("lamp", "shelf", "kettle", "chair", "basket", "bowl", "rug", "clock", "mirror", "tray", "hook", "vase", "jar")
ROOMS = ("the kitchen", "a small office", "the hallway", "a workshop", "the bathroom", "a reading corner", "the garden")
CARE = ("wipe clean with a damp cloth", "hand wash only", "keep dry", "oil once a year", "safe in the dishwasher")


class SampleError(Exception):
    """The sample could not be imported; the message says why. The service itself runs on."""


def sample_rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    """`count` products, the same each time, about 190 bytes each."""
    for number in range(count):
        finish = FINISHES[number % len(FINISHES)]
        material = MATERIALS[number % len(MATERIALS)]
        thing = THINGS[number % len(THINGS)]
        size = SIZES[number // 7 % len(SIZES)]
        description = (
            f"{finish} {material} {thing} in size {size}, made for {ROOMS[number % len(ROOMS)]}; "
            f"{CARE[number % len(CARE)]}. Series {number // 1000:04d}, ships within {number % 9 + 1} days."
        )
        status = "inactive" if number % 20 == 19 else "active"
        yield f"OD-{number:07d}", f"{finish} {material} {thing}, {size}", description, status


def write_sample(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sku", "name", "description", "status"))
        writer.writerows(sample_rows(count))


@dataclass(frozen=True)
class SampleToken:
    """A token for this one import, known to nobody else."""

    token: ApiToken
    secret: str

    @classmethod
    def issue(cls) -> SampleToken:
        """In the name of the administrator or, before there is one, of a user who can't log in."""
        user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if user is None:
            user, _ = User.objects.get_or_create(username=SAMPLE_USER)
            user.set_unusable_password()
            user.is_active = True
            user.save()
            user.groups.add(Group.objects.get(name="importer"))
        soon = timezone.now() + timedelta(hours=1)  # should we be killed before `revoke`
        return cls(*ApiToken.issue(user, name="Sample file", scopes=[Scope.IMPORT, Scope.READ], expires_at=soon))

    def revoke(self) -> None:
        """Whoever imported stays in the history, so the user is only switched off."""
        ApiToken.objects.filter(pk=self.token.pk).delete()
        User.objects.filter(username=SAMPLE_USER).update(is_active=False)


class Client:
    """A client of the public API, as anybody could write it."""

    def __init__(self, base_url: str, token: str, headers: dict[str, str]) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy of the environment stands between us and ourselves
        self.session.headers.update({**headers, "Authorization": f"Bearer {token}"})

    def import_file(self, path: Path) -> dict[str, Any]:
        headers = {"Content-Type": "text/csv", "Content-Disposition": f'attachment; filename="{path.name}"'}
        with path.open("rb") as file:
            url = f"{self.base_url}/api/v1/imports/"
            return self._document(self.session.post(url, data=file, headers=headers, timeout=120))

    def get_import(self, import_id: str) -> dict[str, Any]:
        return self._document(self.session.get(f"{self.base_url}/api/v1/imports/{import_id}/", timeout=30))

    def _document(self, response: requests.Response) -> dict[str, Any]:
        if not response.ok:
            raise SampleError(f"the API answered {response.status_code}: {response.text[:500]}")
        document: dict[str, Any] = response.json()
        return document


def import_sample(
    client: Client, folder: Path, rows: int, show: Callable[[dict[str, Any]], None]
) -> tuple[dict[str, Any], float]:
    """Make the file, import it, tell `show` of each state. Returns the last one and the seconds it took.

    The seconds count from the start of the upload to the end of the import, as seen from here.
    Raises SampleError.
    """
    path = folder / f"sample-{rows}.csv"
    try:
        write_sample(path, rows)
        started = time.monotonic()
        document = client.import_file(path)
    except (OSError, requests.RequestException) as error:
        raise SampleError(str(error)) from None
    finally:
        path.unlink(missing_ok=True)
    seen_at = time.monotonic()
    while document["state"] in ("PENDING", "PROGRESS"):
        show(document)
        time.sleep(POLL_SECONDS)
        try:
            document = client.get_import(document["id"])
            seen_at = time.monotonic()
        except requests.RequestException as error:
            if time.monotonic() - seen_at > PATIENCE_SECONDS:
                raise SampleError(f"the API is away ({error})") from None
    show(document)
    return document, time.monotonic() - started
