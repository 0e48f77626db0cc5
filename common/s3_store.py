"""The file store on S3, or what speaks its protocol, for processes on several machines. Only imported where it is used.

django-storages does the work. What is different here: memory stays flat whatever the size of a file, a store that
does not answer is an error of ours that says so, and soon, and an opened file is a real one on the local disk, whose
reader may go back and forth and hand it to another process.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import structlog
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from common.errors import StoreUnavailableError

P = ParamSpec("P")
R = TypeVar("R")

PART = 5 * 1024 * 1024
"""Bytes that are sent at a time. S3 takes none smaller and at most 10,000: files of 50 GB."""

log = structlog.get_logger(__name__)


def told(method: Callable[P, R]) -> Callable[P, R]:
    """Have a method raise StoreUnavailableError, which says no names, for whatever the store does not do."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (BotoCoreError, ClientError) as error:
            log.warning("file_store_unavailable", error=str(error))
            raise StoreUnavailableError("The file store does not answer as it should. Try again.") from error

    return wrapper


class S3FileStore(S3Storage):
    """Files in a bucket that nobody else may read: none of them has a URL."""

    def __init__(self, **options: Any) -> None:
        config = Config(
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 2},
            signature_version="s3v4",
            s3={"addressing_style": "path" if options.get("endpoint_url") else "auto"},
            # By default it sends checksums that only Amazon's own S3 is sure to know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # With threads, parts would pile up in memory.
        transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
        super().__init__(**options, client_config=config, transfer_config=transfer)

    @told
    def _open(self, name: str, mode: str = "rb") -> File:
        """A copy on the local disk, which goes when closed. Raises FileNotFoundError, or OSError for a full disk."""
        file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 - who opens it closes it
        try:
            self.bucket.Object(self._normalize_name(name)).download_fileobj(file, Config=self.transfer_config)
        except BaseException as error:
            file.close()
            if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise FileNotFoundError(name) from None
            raise
        file.seek(0)
        return File(file, name=name)

    @told
    def _save(self, name: str, content: Any) -> str:
        stored: str = super()._save(name, content)
        return stored

    @told
    def delete(self, name: str) -> None:
        super().delete(name)

    @told
    def exists(self, name: str) -> bool:
        found: bool = super().exists(name)
        return found

    @told
    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders, files = super().listdir(path)
        return folders, files

    @told
    def get_modified_time(self, name: str) -> datetime:
        time: datetime = super().get_modified_time(name)
        return time
