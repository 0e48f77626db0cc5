"""What others wrote and we serve: exactly what was published, with its licence."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from django.conf import settings

VENDOR = settings.BASE_DIR / "static" / "vendor"
MANIFEST: dict[str, Any] = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
FILES = {name: told for package in MANIFEST.values() for name, told in package["files"].items()}


@pytest.mark.parametrize("name", FILES)
def test_a_vendored_file_is_what_was_published(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == FILES[name]["sha256"]


@pytest.mark.parametrize("package", MANIFEST)
def test_a_vendored_package_says_what_it_is_and_has_its_licence(package: str) -> None:
    told = MANIFEST[package]

    assert set(told) == {"version", "licence", "source", "licence_file", "files"}
    assert "Permission is hereby granted" in (VENDOR / told["licence_file"]).read_text(encoding="utf-8")


def test_nothing_is_vendored_that_the_manifest_does_not_name() -> None:
    there = {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}

    assert there == {"manifest.json", *FILES, *(package["licence_file"] for package in MANIFEST.values())}
