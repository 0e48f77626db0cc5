"""The files of others that we keep are what their manifests say, byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

ROOT: Path = settings.BASE_DIR
FOLDERS = [ROOT / "static" / "vendor", ROOT / "tests" / "browser" / "vendor"]
"""What pages load, and what only tests load."""
PERMISSIVE = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "0BSD"}


def packages(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def listed(folder: Path) -> dict[str, str]:
    """Path to SHA-256."""
    return {file["path"]: file["sha256"] for package in packages(folder) for file in package["files"]}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_vendored_file_is_the_one_that_was_released(folder: Path) -> None:
    for path, digest in listed(folder).items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest, path


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_no_vendored_file_is_without_a_line_in_the_manifest(folder: Path) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    assert there == {*listed(folder), "manifest.json"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_package_names_its_version_its_source_and_its_licence(folder: Path) -> None:
    for package in packages(folder):
        assert set(package) == {"name", "version", "licence", "source", "files"}
        assert package["version"] in package["source"]
        assert any("licen" in file["path"].lower() for file in package["files"]), package["name"]


def test_what_pages_load_may_be_passed_on_with_the_service() -> None:
    assert {package["licence"] for package in packages(FOLDERS[0])} <= PERMISSIVE
