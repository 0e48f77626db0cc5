"""Step 1: take a file in. What this returns is on disk and in the database, whatever dies next."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from common.errors import NoSpaceError, StoreUnavailableError, TooLargeError
from common.file_store import listed
from common.ids import uuid7
from products.importing import quota
from products.importing.options import ImportOptions
from products.models import Import

if TYPE_CHECKING:
    from accounts.models import User

FOLDER = "imports"
"""Of the file store: the files as they were received."""
FAILED_FOLDER = "errors"
"""Files whose import failed, kept to be looked at."""
LONGEST_NAME = 255
MARGIN = 64 * 1024 * 1024
"""Bytes that stay free on the disk when a new file is all there: the database may be on it, too."""
COPIES_OF_FORM = 2
"""Of a file that comes in a form: as Django put it aside, and as it is kept."""
ORPHAN_AGE = timedelta(hours=1)
BLOCK = 1024 * 1024

logger = logging.getLogger(__name__)


def require_room(length: int, *, copies: int = 1) -> None:
    """Refuse a file of so many bytes that the disk has no room for, before a byte of it is read. Raises NoSpaceError.

    `copies`: how many of it are on the disk for a while. A store without paths has no end that we could see.
    """
    try:
        folder = Path(default_storage.path(""))
    except NotImplementedError:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    room = max(0, shutil.disk_usage(folder).free - MARGIN) // copies
    if length > room:
        raise NoSpaceError(
            f"The file has {length:,} bytes, and this server has room for {room:,} at the moment. "
            "Ask its operator to make some."
        )


def receive(
    chunks: Iterable[bytes], *, file_name: str, options: ImportOptions, user: User | None, max_bytes: int | None = None
) -> Import:
    """Write a file to the file store and its Import row to the database, in this order.

    Raises TooLargeError, QuotaError or NoSpaceError; then, and when `chunks` itself raises, nothing is kept.
    """
    body = _Body(chunks, max_bytes or settings.IMPORT_MAX_BYTES)
    with _new_import() as (import_id, wanted):
        stored = default_storage.save(wanted, body)
        _make_durable(stored)
        with transaction.atomic():
            if user:
                quota.hold(user, body.bytes_taken)
            return _begin(import_id, stored, body, file_name, options, user)


def adopt(
    path: Path, *, file_name: str, options: ImportOptions, user: User | None, tie: Callable[[Import], None]
) -> Import:
    """Make a local, durable file that stays as it is the file of a new import; `path` itself is left to the caller.

    `tie` is called in the transaction that makes the import. Raises TooLargeError, NoSpaceError, FileNotFoundError,
    and what `tie` raises; then nothing is kept.
    """
    with path.open("rb") as file, _new_import() as (import_id, wanted):
        body = _Body(iter(partial(file.read, BLOCK), b""), settings.IMPORT_MAX_BYTES)
        stored = _link(path, wanted, body) or default_storage.save(wanted, body)
        _make_durable(stored)
        with transaction.atomic():
            import_ = _begin(import_id, stored, body, file_name, options, user)
            tie(import_)
        return import_


@contextmanager
def _new_import() -> Iterator[tuple[uuid.UUID, str]]:
    """An id, and the name of its file. Where the block raises, the file goes; a full disk is said to be one."""
    import_id = uuid7()
    wanted = f"{FOLDER}/{import_id}.csv"
    try:
        yield import_id, wanted
    except (DatabaseError, StoreUnavailableError):
        raise  # the row, or the file, may be there or not: it stays, and goes as an orphan if it is one
    except OSError as error:
        default_storage.delete(wanted)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError("There is no room for the file on this server. Ask its operator to make some.") from None
        raise
    except BaseException:
        default_storage.delete(wanted)
        raise


def _link(path: Path, wanted: str, body: _Body) -> str | None:
    """Give the file a second name in the store, without copying it. None if the store has no paths."""
    try:
        target = Path(default_storage.path(wanted))
    except NotImplementedError:
        return None
    for _ in body.chunks():
        pass  # counted and hashed
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(path)  # an old file without an import would be removed
    os.link(path, target)
    return wanted


def _begin(
    import_id: uuid.UUID, stored: str, body: _Body, file_name: str, options: ImportOptions, user: User | None
) -> Import:
    with transaction.atomic():
        import_ = Import.objects.create(
            id=import_id,
            **options.as_fields(),
            created_by=user,
            file_name=plain_name(file_name),
            stored_file=stored,
            sha256=body.sha256.hexdigest(),
            bytes_total=body.bytes_taken,
            dispatched_at=Now(),  # by the caller, now; if it dies before that, the sweep does it later
        )
        audit.record(user, "import.started", import_, {"file_name": import_.file_name})
    return import_


def set_failed_file_aside(import_: Import) -> None:
    """Move the file of a failed import to `errors/`, where an operator finds it."""
    name = f"{FAILED_FOLDER}/{import_.pk}.csv"
    try:
        source, target = Path(default_storage.path(import_.stored_file)), Path(default_storage.path(name))
    except NotImplementedError:  # a store of objects: it has no paths
        with default_storage.open(import_.stored_file) as file:
            name = default_storage.save(name, file)
        Import.objects.filter(pk=import_.pk).update(stored_file=name)
        default_storage.delete(import_.stored_file)
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A link first: whatever dies in between, the row names a file that is there.
    target.unlink(missing_ok=True)
    os.link(source, target)
    Import.objects.filter(pk=import_.pk).update(stored_file=name)
    source.unlink()


def remove_orphans() -> None:
    """Remove received files without an import: their process died between the two. Only old ones, since
    those of the last hour may still be on their way."""
    _, names = listed(FOLDER)
    known = set(Import.objects.filter(stored_file__startswith=f"{FOLDER}/").values_list("stored_file", flat=True))
    for path in (f"{FOLDER}/{name}" for name in names):
        if path in known:
            continue
        try:
            old = default_storage.get_modified_time(path) < timezone.now() - ORPHAN_AGE
        except FileNotFoundError:  # set aside or removed since the folder was read
            continue
        if old:
            logger.warning("orphan_file_removed", extra={"path": path})
            default_storage.delete(path)


class _Body(File):
    """The chunks as a file, for stores that take chunks and for those that read; counts and hashes on the way."""

    def __init__(self, chunks: Iterable[bytes], max_bytes: int) -> None:
        super().__init__(io.BytesIO(), name="body")
        self.bytes_taken = 0
        self.sha256 = hashlib.sha256()
        self._max_bytes = max_bytes
        self._chunks = self._checked(chunks)
        self._rest = bytearray()

    def seekable(self) -> bool:
        """Else a store of objects would look for its end before it is there."""
        return False

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        return self._chunks

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        if size < 0:
            size = len(self._rest)
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken

    def _checked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes_taken += len(chunk)
            if self.bytes_taken > self._max_bytes:
                raise TooLargeError(
                    f"The file is larger than {self._max_bytes:,} bytes, the most that this server takes. "
                    "Split it: each part needs the header row."
                )
            self.sha256.update(chunk)
            yield chunk


def _make_durable(stored: str) -> None:
    """Have a stored file on the disk itself. Stores without paths promise that by answering."""
    try:
        make_durable(Path(default_storage.path(stored)))
    except NotImplementedError:
        return


def give_connection_back() -> None:
    """A slow body may take hours, and does not keep a connection from others meanwhile."""
    if not connection.in_atomic_block:
        connection.close()


def make_durable(path: Path) -> None:
    """Have a local file and its folder on the disk itself."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def plain_name(name: str) -> str:
    """The uploader's name for the file: its last part, without control characters, for showing only."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in last if character.isprintable())[:LONGEST_NAME] or "unnamed.csv"
