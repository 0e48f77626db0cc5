"""Tests that import have a file store of their own, and leave no staging table to the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from pytest_django import Settings


@pytest.fixture
def file_store(settings: Settings, tmp_path: Path, db: None) -> Iterator[Path]:
    """An empty folder where the received files go."""
    # pytest reads this file before Django is set up.
    from products.importing import stager
    from products.models import Import

    folder = tmp_path / "files"
    options = {**settings.STORAGES["default"]["OPTIONS"], "location": folder}
    settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": options}}
    assert Path(default_storage.path("")) == folder
    yield folder
    Import.objects.update(staged_attempt=None, state=Import.State.CANCELLED)
    stager.drop_abandoned()


@pytest.fixture
def chunks_of_three(settings: Settings) -> None:
    """Small enough that a file of a few rows has several."""
    settings.IMPORT_BATCH_SIZE = 3
