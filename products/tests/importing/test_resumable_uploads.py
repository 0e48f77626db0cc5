"""Files in parts: what is counted is there, one writes at a time, and an import takes the file once."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from accounts.tests.people import token_of
from common.errors import ConflictError, NoSpaceError, ServiceError, TooLargeError
from products.importing import receiver, uploads
from products.importing.options import ImportOptions
from products.importing.pen import UploadLockedError, UploadTakenOverError
from products.models import Import, Upload
from products.tests.importing.imports import Counts, aside, counts, numbered, run, stored_text
from products.tests.importing.test_receiver import ObjectStore

pytestmark = pytest.mark.django_db

MB = 1024 * 1024


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture(autouse=True)
def here(file_store: Path) -> Path:
    return file_store / "uploads"


def begin(owner: User, length: int = 10, **more: str) -> Upload:
    return uploads.create(owner, None, length=length, **more)


def whole(owner: User, content: bytes) -> Upload:
    """An upload that is all there."""
    return uploads.append(begin(owner, len(content), file_name="lamps.csv"), 0, [content])


def start(upload: Upload) -> Import:
    with uploads.kept(upload) as file:
        import_, _ = uploads.import_from(upload, file, options=ImportOptions(), user=upload.owner)
    return import_


def offset_of(upload: Upload) -> int:
    return Upload.objects.get(pk=upload.pk).offset


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# --- the file ----------------------------------------------------------------------------------


def test_it_is_private_and_named_by_its_id(ada: User, here: Path) -> None:
    upload = begin(ada, file_name="../../etc/passwd")

    (file,) = files(here)
    assert file.name == f"{upload.pk}.part"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(here.stat().st_mode) == 0o700
    assert upload.file_name == "passwd"


def test_parts_are_put_together(ada: User, here: Path) -> None:
    upload = begin(ada)

    assert uploads.append(upload, 0, [b"01", b"2"]).offset == 3
    assert uploads.append(upload, 3, [b""]).offset == 3
    assert uploads.append(upload, 3, [b"3456789"]).offset == 10
    assert uploads.path_of(upload.pk).read_bytes() == b"0123456789"
    assert files(here) == {uploads.path_of(upload.pk)}


def test_a_part_elsewhere_than_at_the_offset_is_refused(ada: User) -> None:
    upload = uploads.append(begin(ada), 0, [b"01234"])

    for wrong in (0, 4, 6, 10):
        with pytest.raises(ConflictError, match="there are 5 bytes here") as caught:
            uploads.append(upload, wrong, [b"56789"])
        assert caught.value.code == "offset_mismatch"
    assert offset_of(upload) == 5


def test_more_than_was_announced_is_refused(ada: User) -> None:
    upload = begin(ada)

    with pytest.raises(TooLargeError, match="announced with 10 bytes"):
        uploads.append(upload, 0, [b"01234", b"56789x"])

    assert offset_of(upload) == 5
    upload = uploads.append(upload, 5, [b"56789"])
    assert uploads.append(upload, 10, []).offset == 10
    with pytest.raises(TooLargeError, match="complete already"):
        uploads.append(upload, 10, [b"x"])
    assert uploads.path_of(upload.pk).read_bytes() == b"0123456789"


def test_what_arrived_before_the_line_broke_is_kept(ada: User) -> None:
    upload = begin(ada)

    with pytest.raises(ConnectionResetError):
        uploads.append(upload, 0, breaking(b"0123"))

    assert offset_of(upload) == 4


def breaking(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks
    raise ConnectionResetError("the client is gone")


def test_the_offset_is_committed_while_bytes_come_in(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SAVE_SECONDS", 0.0)
    upload = begin(ada)
    seen: list[tuple[int, int]] = []

    def slowly() -> Iterator[bytes]:
        for block in (b"0123", b"4567", b"89"):
            seen.append((offset_of(upload), uploads.path_of(upload.pk).stat().st_size))
            yield block

    uploads.append(upload, 0, slowly())

    assert seen == [(0, 0), (4, 4), (8, 8)]


def test_each_byte_postpones_the_end(ada: User) -> None:
    upload = begin(ada)
    Upload.objects.update(expires_at=timezone.now() + timedelta(minutes=1))

    assert uploads.append(upload, 0, [b"0"]).expires_at > timezone.now() + timedelta(hours=23)


# --- checksums ---------------------------------------------------------------------------------


def checksum(content: bytes, algorithm: str = "sha256") -> uploads.Checksum:
    digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    return uploads.Checksum(f"{algorithm} {digest}")


@pytest.mark.parametrize("algorithm", uploads.ALGORITHMS)
def test_a_part_with_its_checksum_is_all_taken_or_not_at_all(ada: User, algorithm: str) -> None:
    upload = begin(ada)

    with pytest.raises(uploads.ChecksumError, match="5 bytes that arrived do not match"):
        uploads.append(upload, 0, [b"012", b"xx"], checksum=checksum(b"01234", algorithm))
    with pytest.raises(ConnectionResetError):
        uploads.append(upload, 0, breaking(b"01234"), checksum=checksum(b"0123456789", algorithm))
    assert offset_of(upload) == 0

    assert uploads.append(upload, 0, [b"012", b"34"], checksum=checksum(b"01234", algorithm)).offset == 5
    assert uploads.append(upload, 5, [b"56789"]).offset == 10
    assert uploads.path_of(upload.pk).read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    "header", ["md5 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1", "sha1 ***", "sha1 MDEyMw==", "", "SHA1 x"]
)
def test_a_checksum_that_is_not_understood_is_refused(header: str) -> None:
    with pytest.raises(ServiceError) as caught:
        uploads.Checksum(header)
    assert (caught.value.status, caught.value.code) == (400, "checksum_unknown")


# --- one writes at a time ----------------------------------------------------------------------


def meanwhile(upload: Upload, other: list[BaseException | Upload], *, silent: bool = False) -> Iterator[bytes]:
    """Blocks of a sender while which another request writes to the same upload."""
    yield b"AAA"
    if silent:
        os.utime(uploads.path_of(upload.pk), (0, 0))
    try:
        other.append(uploads.append(upload, offset_of(upload), [b"bbbbb"]))
    except ServiceError as error:
        other.append(error)
    yield b"AAA"


def test_a_second_writer_is_turned_away(ada: User) -> None:
    upload = begin(ada)
    other: list[BaseException | Upload] = []

    uploads.append(upload, 0, meanwhile(upload, other))

    (refused,) = other
    assert isinstance(refused, UploadLockedError)
    assert (refused.status, refused.retry_after) == (423, 5)
    assert uploads.path_of(upload.pk).read_bytes() == b"AAAAAA"


def test_a_writer_that_has_fallen_silent_gives_way(ada: User) -> None:
    upload = begin(ada)
    other: list[BaseException | Upload] = []

    with pytest.raises(UploadTakenOverError, match="another request has gone on"):
        uploads.append(upload, 0, meanwhile(upload, other, silent=True))

    assert offset_of(upload) == 5
    assert uploads.path_of(upload.pk).read_bytes() == b"bbbbb"
    assert uploads.append(upload, 5, [b"ccccc"]).offset == 10


def test_an_upload_that_is_deleted_while_it_comes_in_stays_deleted(ada: User, here: Path) -> None:
    upload = begin(ada)

    def deleted() -> Iterator[bytes]:
        yield b"0"
        uploads.terminate(upload)
        yield b"1"

    with pytest.raises(ServiceError) as caught:
        uploads.append(upload, 0, deleted())

    assert caught.value.code in ("upload_gone", "upload_taken_over")
    assert files(here) == set()
    with pytest.raises(uploads.UploadGoneError):
        uploads.append(upload, 0, [b"0"])


# --- limits ------------------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_refused_at_its_beginning(ada: User, here: Path, settings: Settings) -> None:
    settings.IMPORT_MAX_BYTES = 1_000

    with pytest.raises(TooLargeError, match="1,001 bytes"):
        begin(ada, 1_001)

    assert not Upload.objects.exists()
    assert begin(ada, 1_000).length == 1_000


def test_one_has_only_so_many_at_a_time(ada: User, here: Path) -> None:
    mine = [begin(ada) for _ in range(uploads.MOST_UPLOADS)]

    with pytest.raises(uploads.TooManyUploadsError, match="You have 20 uploads") as caught:
        begin(ada)

    assert caught.value.status == 429
    assert len(files(here)) == uploads.MOST_UPLOADS
    begin(User.objects.create_user("bob"))
    uploads.terminate(mine[0])
    begin(ada)
    Upload.objects.filter(pk=mine[1].pk).update(expires_at=timezone.now())
    begin(ada)


@pytest.mark.django_db(transaction=True)
def test_two_that_begin_at_once_do_not_pass_the_limit(ada: User, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_UPLOADS", 5)

    def begin_five() -> None:
        for _ in range(5):
            with contextlib.suppress(uploads.TooManyUploadsError):
                begin(ada)

    with aside(begin_five) as other:
        begin_five()

    assert other.error is None
    assert Upload.objects.count() == len(files(here)) == 5


@pytest.fixture
def small_disk(file_store: Path) -> Iterator[Path]:
    """A file store of 80 megabytes."""
    file_store.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(file_store)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can only be made by root")
    yield file_store
    subprocess.run(["umount", str(file_store)], check=True)


def test_an_upload_for_which_there_is_no_room_does_not_begin(small_disk: Path, ada: User, here: Path) -> None:
    begin(ada, 10 * MB)

    with pytest.raises(NoSpaceError, match="room for 16,7") as caught:
        begin(ada, 20 * MB)

    assert caught.value.status == 507
    assert len(files(here)) == 1


def test_a_disk_that_fills_up_meanwhile_costs_nothing_of_what_is_there(small_disk: Path, ada: User) -> None:
    upload = begin(ada, 10 * MB)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(76 * MB))

    with pytest.raises(OSError, match="No space left"):
        uploads.append(upload, 0, [b"x" * MB] * 10)

    there = offset_of(upload)
    assert MB <= there < 10 * MB
    filler.unlink()
    assert uploads.append(upload, there, [b"x" * (10 * MB - there)]).offset == 10 * MB
    assert uploads.path_of(upload.pk).read_bytes() == b"x" * (10 * MB)


# --- the end -----------------------------------------------------------------------------------


def test_only_who_began_it_goes_on(ada: User) -> None:
    token, other = (token_of(ada, "import", name=name)[0] for name in ("one", "two"))
    by_token = uploads.create(ada, token, length=1)
    by_session = uploads.create(ada, None, length=1)

    assert uploads.find(str(by_token.pk), ada, token) == by_token
    assert uploads.find(str(by_session.pk), ada, None) == by_session
    strangers = [(by_token, ada, other), (by_token, ada, None), (by_session, ada, token)]
    for upload, user, used in [*strangers, (by_session, User.objects.create_user("bob"), None)]:
        with pytest.raises(ServiceError, match="that you may go on with") as caught:
            uploads.find(str(upload.pk), user, used)
        assert caught.value.status == 404


def test_what_has_expired_is_gone_and_then_removed(ada: User, here: Path) -> None:
    old, young = begin(ada), begin(ada)
    uploads.append(old, 0, [b"0123"])
    Upload.objects.filter(pk=old.pk).update(expires_at=timezone.now())

    with pytest.raises(uploads.UploadGoneError, match="expired 24 hours after its last byte"):
        uploads.find(str(old.pk), ada, None)
    uploads.remove_expired()

    assert list(Upload.objects.all()) == [young]
    assert files(here) == {uploads.path_of(young.pk)}


def test_old_files_without_an_upload_are_removed_and_no_others(ada: User, here: Path) -> None:
    uploads.remove_expired()  # there need be no files at all
    upload = begin(ada)
    for name in ("orphan.part", "orphan.lock", f"{upload.pk}.lock", "young.part"):
        (here / name).touch()
    for path in files(here) - {here / "young.part"}:
        os.utime(path, (0, 0))

    uploads.remove_expired()

    assert {path.name for path in files(here)} == {f"{upload.pk}.part", f"{upload.pk}.lock", "young.part"}


# --- the import --------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_import_takes_the_file_as_it_is(ada: User, here: Path, file_store: Path) -> None:
    content = numbered(3).encode()
    upload = whole(ada, content)
    inode = uploads.path_of(upload.pk).stat().st_ino
    os.utime(uploads.path_of(upload.pk), (0, 0))

    import_ = start(upload)
    receiver.remove_orphans()

    file = file_store / import_.stored_file
    assert file.stat().st_ino == inode  # moved, not copied
    assert (import_.file_name, import_.bytes_total, import_.created_by) == ("lamps.csv", len(content), ada)
    assert import_.sha256 == hashlib.sha256(content).hexdigest()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert files(here) == set()
    assert Upload.objects.get().taken_by == import_.pk
    assert counts(run(import_)) == Counts(read=3, created=3)


def test_asked_again_it_is_the_same_import(ada: User) -> None:
    upload = whole(ada, b"sku\n")
    first = start(upload)

    for known in (upload, Upload.objects.get()):
        with uploads.kept(known) as file:
            again, is_new = uploads.import_from(known, file, options=ImportOptions(mode="create"), user=ada)
        assert (again, again.mode, is_new) == (first, "upsert", False)
    assert Import.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_asked_twice_at_once_it_is_one_import(ada: User, file_store: Path) -> None:
    for number in range(10):
        upload = whole(ada, b"sku\n%d\n" % number)
        with aside(lambda upload=upload: start(upload)) as other:  # type: ignore[misc]
            start(upload)
        assert other.error is None

    assert Import.objects.count() == 10
    stored = set(Import.objects.values_list("stored_file", flat=True))
    assert files(file_store) == {file_store / name for name in stored}


def test_an_upload_that_is_not_finished_gives_no_import(ada: User) -> None:
    upload = uploads.append(begin(ada), 0, [b"0123"])

    with pytest.raises(ConflictError, match="4 of 10 bytes are here") as caught:
        start(upload)

    assert caught.value.code == "upload_unfinished"
    assert not Import.objects.exists()


def test_what_an_import_has_taken_is_neither_deleted_nor_lost_when_it_expires(ada: User, file_store: Path) -> None:
    upload = whole(ada, b"sku\n")
    import_ = start(upload)

    with pytest.raises(uploads.UploadTakenError, match="Cancel that instead"):
        uploads.terminate(upload)
    with pytest.raises(ConflictError, match="there are 4 bytes here"):
        uploads.append(upload, 0, [b"sku\n"])
    Upload.objects.update(expires_at=timezone.now())
    uploads.remove_expired()

    assert not Upload.objects.exists()
    assert stored_text(import_) == b"sku\n"


@pytest.mark.django_db(transaction=True)
def test_a_store_without_paths_gets_a_copy(ada: User, settings: Settings, tmp_path: Path) -> None:
    backend = f"{ObjectStore.__module__}.{ObjectStore.__name__}"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": backend, "OPTIONS": {"location": tmp_path}}}
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "local"
    content = numbered(3).encode()

    import_ = start(whole(ada, content))

    assert stored_text(import_) == content
    assert import_.sha256 == hashlib.sha256(content).hexdigest()
    assert files(tmp_path / "local") == set()


def test_an_empty_file_is_whole_from_the_beginning(ada: User) -> None:
    assert start(begin(ada, 0)).bytes_total == 0
