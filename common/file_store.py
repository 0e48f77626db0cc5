"""What every file store can be asked, be it a folder or a bucket."""

from __future__ import annotations

from pathlib import Path

from django.core.files.storage import default_storage


def listed(folder: str) -> tuple[list[str], list[str]]:
    """The folders and the files in a folder of the store; none if it is not there. In a bucket no folder ever is."""
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return folders, files


def path_in_store(name: str) -> Path | None:
    """Where this lies on the disk; None in a store of objects, such as a bucket, which has no paths."""
    try:
        return Path(default_storage.path(name))
    except NotImplementedError:  # Django's word for that: Storage.path
        return None
