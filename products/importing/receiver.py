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
from dataclasses import dataclass
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
from common.file_store import listed, path_in_store
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
FORM_OVERHEAD = 64 * 1024
"""Bytes that a form may hold beside the file: the other fields and the boundaries."""
ORPHAN_AGE = timedelta(hours=1)
BLOCK = 1024 * 1024

logger = logging.getLogger(__name__)


def refuse_by_length(length: int, sender: User, *, in_form: bool = False) -> None:
    """Refuse a file by the length that is declared of it, before a byte of it is read: where it is too large for this
    server, too much for its sender, or more than there is room for. Every way in asks here.

    `in_form`: the length is that of a form around the file. Raises TooLargeError, QuotaError or NoSpaceError.
    """
    overhead = FORM_OVERHEAD if in_form else 0
    if length > settings.IMPORT_MAX_BYTES + overhead:
        raise TooLargeError(
            f"The file has {length:,} bytes; this server takes files of {settings.IMPORT_MAX_BYTES:,} bytes at most. "
            "Split it: each part needs the header row."
        )
    quota.refuse_too_much(sender, max(0, length - overhead))
    _require_room(length, copies=COPIES_OF_FORM if in_form else 1)


def _require_room(length: int, *, copies: int) -> None:
    """Raise NoSpaceError where the disk has no room for a file of so many bytes.

    `copies`: how many of it are on the disk for a while. A store without paths has no end that we could see.
    """
    folder = path_in_store("")
    if folder is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    room = max(0, shutil.disk_usage(folder).free - MARGIN) // copies
    if length > room:
        raise NoSpaceError(
            f"The file has {length:,} bytes, and this server has room for {room:,} at the moment. "
            "Ask its operator to make some."
        )


@dataclass
class KeptFile:
    """A file in the file store that is there whole, and that an import may take."""

    import_id: uuid.UUID
    """Of the import that takes it."""
    name: str
    """In the store."""
    sha256: str = ""
    bytes: int = 0
    taken: bool = False
    """By an import, whose transaction may not have been committed yet."""


def receive(
    chunks: Iterable[bytes], *, file_name: str, options: ImportOptions, user: User | None, max_bytes: int | None = None
) -> Import:
    """Write a file to the file store and its Import row to the database, in this order.

    Raises TooLargeError, QuotaError or NoSpaceError; then, and when `chunks` itself raises, nothing is kept.
    """
    with kept(chunks, max_bytes=max_bytes) as file:
        return begin(file, file_name=file_name, options=options, user=user)


@contextmanager
def kept(chunks: Iterable[bytes], *, max_bytes: int | None = None) -> Iterator[KeptFile]:
    """These bytes in the file store. Where no import has taken them at the end of the block, they go.

    May take as long as the sender and the store do, so it is for outside of transactions. Raises TooLargeError or
    NoSpaceError, and what `chunks` raises.
    """
    body = _Body(chunks, max_bytes or settings.IMPORT_MAX_BYTES)
    with _new_file() as file:
        give_connection_back()
        file.name = default_storage.save(file.name, body)
        _make_durable(file.name)
        file.sha256, file.bytes = body.sha256.hexdigest(), body.bytes_taken
        yield file


@contextmanager
def kept_copy(path: Path) -> Iterator[KeptFile]:
    """The same of a local, durable file that stays as it is; `path` itself is left to the caller.

    Raises TooLargeError, NoSpaceError or FileNotFoundError.
    """
    with path.open("rb") as source, _new_file() as file:
        give_connection_back()
        body = _Body(iter(partial(source.read, BLOCK), b""), settings.IMPORT_MAX_BYTES)
        file.name = _link(path, file.name, body) or default_storage.save(file.name, body)
        _make_durable(file.name)
        file.sha256, file.bytes = body.sha256.hexdigest(), body.bytes_taken
        yield file


@contextmanager
def _new_file() -> Iterator[KeptFile]:
    """A name for a file. Unless an import has taken it, it goes at the end of the block; a full disk is said to be
    one."""
    import_id = uuid7()
    file = KeptFile(import_id, f"{FOLDER}/{import_id}.csv")
    try:
        yield file
    except (DatabaseError, StoreUnavailableError):
        raise  # the row, or the file, may be there or not: it stays, and goes as an orphan if it is one
    except BaseException as error:
        if not file.taken:
            default_storage.delete(file.name)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError("There is no room for the file on this server. Ask its operator to make some.") from None
        raise
    if not file.taken:
        default_storage.delete(file.name)


@transaction.atomic
def begin(
    file: KeptFile,
    *,
    file_name: str,
    options: ImportOptions,
    user: User | None,
    tie: Callable[[Import], None] | None = None,
) -> Import:
    """Make the import that takes this file.

    `tie` is called in the same transaction, for a file whose bytes have been counted since its upload began. Raises
    QuotaError, and what `tie` raises.
    """
    if user and tie is None:
        quota.hold(user, file.bytes)
    import_ = Import.objects.create(
        id=file.import_id,
        **options.as_fields(),
        created_by=user,
        file_name=plain_name(file_name),
        stored_file=file.name,
        sha256=file.sha256,
        bytes_total=file.bytes,
        dispatched_at=Now(),  # by the caller, now; if it dies before that, the sweep does it later
    )
    audit.record(user, "import.started", import_, {"file_name": import_.file_name})
    if tie is not None:
        tie(import_)
    file.taken = True
    return import_


def _link(path: Path, wanted: str, body: _Body) -> str | None:
    """Give the file a second name in the store, without copying it. None if the store has no paths."""
    target = path_in_store(wanted)
    if target is None:
        return None
    for _ in body.chunks():
        pass  # counted and hashed
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(path)  # an old file without an import would be removed
    os.link(path, target)
    return wanted


def set_failed_file_aside(import_: Import) -> None:
    """Move the file of a failed import to `errors/`, where an operator finds it."""
    name = f"{FAILED_FOLDER}/{import_.pk}.csv"
    source, target = path_in_store(import_.stored_file), path_in_store(name)
    if source is None or target is None:
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


def remove_orphans() -> int:
    """Remove received files without an import: their process died between the two. Only old ones, since
    those of the last hour may still be on their way. Returns how many."""
    removed = 0
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
            removed += 1
    return removed


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
    if path := path_in_store(stored):
        make_durable(path)


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
