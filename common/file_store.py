"""What every file store can be asked, be it a folder or a bucket."""

from __future__ import annotations

from django.core.files.storage import default_storage


def listed(folder: str) -> tuple[list[str], list[str]]:
    """The folders and the files in a folder of the store; none if it is not there. In a bucket no folder ever is."""
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return folders, files
