"""Resumable uploads: files that arrive in parts, through broken connections and restarts, and are never mixed up.

Bytes come first: an offset is committed when what it counts is on the disk itself, so it may say
less than there is, never more. What a file is called here comes from its id alone. `products.api.uploads`
has the protocol, tus 1.0 (https://tus.io/protocols/resumable-upload).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiToken, User
from common.errors import ConflictError, InvalidInputError, NotFoundError, ServiceError, TooLargeError
from common.file_store import path_in_store
from common.ids import uuid7
from products.importing import quota, receiver
from products.importing.options import ImportOptions
from products.importing.pen import Pen, UploadTakenOverError
from products.models import Import, Upload

FOLDER = "uploads"
"""Of the file store: what there is of each upload, and who writes to it."""
MOST_UPLOADS = 20
"""Uploads that one user may have here at a time, without those that an import has taken."""
SAVE_SECONDS = 5.0
"""How often the offset is committed while bytes come in: what the death of this process costs at most."""
ALGORITHMS = ("sha1", "sha256")
"""Of checksums, as `Upload-Checksum` names them."""

logger = logging.getLogger(__name__)


class UploadGoneError(ServiceError):
    """The upload has expired, or was deleted while it was written to (RFC 9110, section 15.5.11)."""

    status = 410
    code = "upload_gone"
    title = "The upload is gone"


class UploadTakenError(ConflictError):
    """An import has the file: it can't be changed or removed here any more."""

    code = "upload_taken"


class ChecksumError(ServiceError):
    """What arrived is not what was sent. The status is one of tus, in its extension *checksum*."""

    status = 460
    code = "checksum_mismatch"
    title = "The checksum does not match"


class TooManyUploadsError(ServiceError):
    """The user has as many uploads here as one may have (RFC 6585, section 4)."""

    status = 429
    code = "too_many_uploads"
    title = "Too many uploads"


class Checksum:
    """What a body must come to, from `Upload-Checksum`: `sha256 <digest in base64>`."""

    def __init__(self, header: str) -> None:
        """Raises InvalidInputError."""
        algorithm, _, digest = header.strip().partition(" ")
        if algorithm not in ALGORITHMS:
            raise InvalidInputError(
                f"Upload-Checksum names {algorithm[:20]!r}; the algorithms known here are {', '.join(ALGORITHMS)}.",
                code="checksum_unknown",
            )
        self._found = hashlib.new(algorithm, usedforsecurity=False)
        try:
            self._wanted = base64.b64decode(digest.strip(), validate=True)
        except binascii.Error:
            self._wanted = b""
        if len(self._wanted) != self._found.digest_size:
            raise InvalidInputError(
                f"Upload-Checksum must be `{algorithm}`, a space, and the digest in Base64.", code="checksum_unknown"
            )

    def update(self, block: bytes) -> None:
        self._found.update(block)

    def matches(self) -> bool:
        return hmac.compare_digest(self._found.digest(), self._wanted)


# --- the beginning and the end -----------------------------------------------------------------


def create(owner: User, token: ApiToken | None, *, length: int, file_name: str = "", metadata: str = "") -> Upload:
    """Begin an upload of `length` bytes. `token`: the one that asks, or None for a session.

    Raises TooLargeError, QuotaError, NoSpaceError or TooManyUploadsError.
    """
    upload = Upload(
        id=uuid7(),
        owner=owner,
        token=token,
        file_name=receiver.plain_name(file_name),
        metadata=metadata,
        length=length,
        expires_at=_expiry(),
    )
    path = path_of(upload.pk)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path_in_store(FOLDER) is None:
        remove_strays()
    receiver.refuse_by_length(length, owner)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        receiver.make_durable(path)
        with transaction.atomic():
            _refuse_too_many(owner)
            quota.hold(owner, length)
            upload.save(force_insert=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return upload


def _refuse_too_many(owner: User) -> None:
    """Counted with the user's row in hand: of two requests at a time, one sees what the other has made."""
    User.objects.select_for_update(no_key=True).get(pk=owner.pk)
    waiting = Upload.objects.filter(owner=owner, taken_by=None, expires_at__gt=timezone.now()).count()
    if waiting >= MOST_UPLOADS:
        raise TooManyUploadsError(
            f"You have {waiting} uploads that no import has taken, and can't have more. Finish some, delete some "
            f"(DELETE), or wait: they go by themselves {settings.UPLOAD_EXPIRY_HOURS} hours after their last byte."
        )


def find(upload_id: str, owner: User, token: ApiToken | None) -> Upload:
    """The upload of this id, if it was begun by the same user with the same token, or in a session as this is one.

    Raises NotFoundError or UploadGoneError.
    """
    try:
        upload = Upload.objects.get(pk=uuid.UUID(upload_id), owner=owner, token=token)
    except (ValueError, Upload.DoesNotExist):
        raise NotFoundError(
            f"There is no upload {upload_id[:60]!r} that you may go on with: only the token, or the user, that began "
            "it may. Begin a new one."
        ) from None
    if upload.expires_at <= timezone.now() and not upload.taken_by:
        raise _gone(f"It expired {settings.UPLOAD_EXPIRY_HOURS} hours after its last byte.")
    return upload


def terminate(upload: Upload) -> None:
    """Remove an upload and what there is of it. Raises UploadTakenError if an import has the file."""
    deleted, _ = Upload.objects.filter(pk=upload.pk, taken_by=None).delete()
    if not deleted and Upload.objects.filter(pk=upload.pk).exists():
        raise UploadTakenError("An import has taken the file of this upload. Cancel that instead.")
    _remove_files(upload.pk)


def remove_expired() -> int:
    """Remove expired uploads, and files without an upload: their row went with its user or token, or was never made.
    Returns how many uploads that were."""
    removed = 0
    for upload_id in Upload.objects.filter(expires_at__lte=timezone.now()).values_list("pk", flat=True):
        # Once more by its time: bytes may have come in since.
        deleted, _ = Upload.objects.filter(pk=upload_id, expires_at__lte=timezone.now()).delete()
        if deleted:
            _remove_files(upload_id)
            removed += 1
    remove_strays()
    return removed


def remove_strays() -> None:
    """Remove the files of this machine that belong to no upload. Where the file store has no paths, uploads lie on the
    disks of the web servers, which the workers don't see: each new upload has them look for themselves."""
    paths = list(_folder().glob("*")) if _folder().exists() else []
    known = {str(pk) for pk in Upload.objects.values_list("pk", flat=True)}
    oldest = time.time() - receiver.ORPHAN_AGE.total_seconds()
    for path in paths:
        if path.stem not in known and path.exists() and path.stat().st_mtime < oldest:
            logger.warning("orphan_file_removed", extra={"path": f"{FOLDER}/{path.name}"})
            path.unlink(missing_ok=True)


def path_of(upload_id: uuid.UUID) -> Path:
    """Where the bytes of an upload are."""
    return _folder() / f"{upload_id}.part"


def _folder() -> Path:
    """Below the file store, so that a finished file need not be copied; where that has no paths, on the local disk."""
    return path_in_store(FOLDER) or settings.FILE_UPLOAD_TEMP_DIR / FOLDER


def _remove_files(upload_id: uuid.UUID) -> None:
    path = path_of(upload_id)
    path.unlink(missing_ok=True)
    path.with_suffix(".lock").unlink(missing_ok=True)


def _expiry() -> datetime:
    return timezone.now() + timedelta(hours=settings.UPLOAD_EXPIRY_HOURS)


def _gone(why: str) -> UploadGoneError:
    return UploadGoneError(f"This upload is gone. {why} Begin a new one.")


# --- bytes -------------------------------------------------------------------------------------


def append(upload: Upload, offset: int, blocks: Iterable[bytes], *, checksum: Checksum | None = None) -> Upload:
    """Write `blocks` to the file from `offset` on, and return the upload as it is then.

    Where `blocks` or the disk breaks off, what has arrived is kept, unless a checksum was to be met:
    of that, all or nothing is kept.

    Raises ConflictError if it does not go on at `offset`, TooLargeError for more bytes than were announced,
    UploadLockedError, UploadGoneError, ChecksumError, OSError for a full disk, and what `blocks` raises.
    """
    if upload.offset == upload.length:  # an import may have the file
        _refuse_elsewhere(upload, offset)
        if any(blocks):
            raise TooLargeError("The file is complete already: there can be no more bytes.", code="beyond_length")
        return upload
    with _pen_of(upload) as pen:
        upload = _reread(upload)  # another may have written until now
        _refuse_elsewhere(upload, offset)
        receiver.give_connection_back()
        _Part(upload, pen, checksum).take(blocks)
    return upload


def _pen_of(upload: Upload) -> Pen:
    try:
        return Pen(path_of(upload.pk))
    except FileNotFoundError:
        raise _gone("Its file is not there any more.") from None


def _refuse_elsewhere(upload: Upload, offset: int) -> None:
    """Bytes go where the file ends. Raises ConflictError."""
    if offset != upload.offset:
        raise ConflictError(
            f"Upload-Offset is {offset:,}, but there are {upload.offset:,} bytes here. Ask for the offset (HEAD) "
            "and go on from there.",
            code="offset_mismatch",
        )


def _reread(upload: Upload) -> Upload:
    found = Upload.objects.filter(pk=upload.pk).first()
    if found is None:
        raise _gone("It was deleted or has expired.")
    return found


class _Part:
    """The bytes of one PATCH on their way to the disk."""

    def __init__(self, upload: Upload, pen: Pen, checksum: Checksum | None) -> None:
        self.upload, self.pen, self.checksum = upload, pen, checksum
        self.end = upload.offset
        """Where the next byte goes; those from `upload.offset` up to here are not yet counted."""
        self.saved_at = time.monotonic()

    def take(self, blocks: Iterable[bytes]) -> None:
        try:
            for block in blocks:
                self._write(block)
                if self.checksum is None and time.monotonic() - self.saved_at >= SAVE_SECONDS:
                    self._save()
        except (UploadGoneError, UploadTakenOverError):
            raise
        except BaseException:
            if self.checksum is None:
                self._save()
            raise
        if self.checksum and not self.checksum.matches():
            raise ChecksumError(
                f"The {self.end - self.upload.offset:,} bytes that arrived do not match Upload-Checksum, and were not "
                "kept. Send them again."
            )
        self._save()

    def _write(self, block: bytes) -> None:
        if self.end + len(block) > self.upload.length:
            raise TooLargeError(
                f"The file was announced with {self.upload.length:,} bytes, and more are sent. What is beyond is not "
                "kept.",
                code="beyond_length",
            )
        if self.checksum:
            self.checksum.update(block)
        self.pen.write(block, self.end)
        self.end += len(block)

    def _save(self) -> None:
        """Commit the offset of what has arrived; with the pen in hand, so that nobody counts another's bytes."""
        with self.pen.in_hand():
            os.fsync(self.pen.file)
            expires_at = _expiry()
            if not Upload.objects.filter(pk=self.upload.pk).update(offset=self.end, expires_at=expires_at):
                raise _gone("It was deleted while these bytes came in.")
        self.upload.offset, self.upload.expires_at = self.end, expires_at
        self.saved_at = time.monotonic()
        receiver.give_connection_back()


# --- on to the import --------------------------------------------------------------------------


@contextmanager
def kept(upload: Upload) -> Iterator[receiver.KeptFile | None]:
    """A finished upload's file in the file store, for `import_from`; None if an import has it already.

    Raises ConflictError for an upload that is not finished, TooLargeError or NoSpaceError.
    """
    if upload.offset < upload.length:
        raise ConflictError(
            f"The upload is not finished: {upload.offset:,} of {upload.length:,} bytes are here. Go on from there, "
            "then ask again.",
            code="upload_unfinished",
        )
    with ExitStack() as stack:
        file = None
        if not upload.taken_by:
            with suppress(FileNotFoundError):  # another request was faster
                file = stack.enter_context(receiver.kept_copy(path_of(upload.pk)))
        yield file


def import_from(
    upload: Upload, file: receiver.KeptFile | None, *, options: ImportOptions, user: User | None
) -> tuple[Import, bool]:
    """Make a finished upload's file an import's, once. Gives the import, and whether it is new. Raises
    UploadGoneError."""
    if file:
        with suppress(UploadTakenError):  # another request was faster
            return _take_over(upload, file, options, user), True
    upload = _reread(upload)
    import_ = upload.taken_by and Import.objects.select_related("created_by").filter(pk=upload.taken_by).first()
    if not import_:
        raise _gone("Its file is not there any more.")
    return import_, False


def _take_over(upload: Upload, file: receiver.KeptFile, options: ImportOptions, user: User | None) -> Import:
    def tie(import_: Import) -> None:
        """The import and the word of who has the file are committed together."""
        if not Upload.objects.filter(pk=upload.pk, taken_by=None).update(taken_by=import_.pk):
            raise UploadTakenError("An import has taken the file of this upload.")

    import_ = receiver.begin(file, file_name=upload.file_name, options=options, user=user, tie=tie)
    # Not before the commit: a roll-back leaves the upload as it was.
    transaction.on_commit(partial(path_of(upload.pk).unlink, missing_ok=True))
    return import_
