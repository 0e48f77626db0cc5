"""Tests that import have a file store of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from pytest_django import Settings


@pytest.fixture
def file_store(settings: Settings, tmp_path: Path) -> Path:
    """An empty folder where the received files go."""
    folder = tmp_path / "files"
    options = {**settings.STORAGES["default"]["OPTIONS"], "location": folder}
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": options}}
    assert Path(default_storage.path("")) == folder
    return folder
