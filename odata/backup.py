"""One file that holds the whole service: the database, the uploaded files and what it takes to check them.

A tar: `manifest.json` first (versions, what is in it), then `database.dump` (pg_dump's custom format),
then `files/...`, then `checksums.json` (SHA-256 of each). Everything is streamed: memory stays flat,
whatever the size. The secret key is left out: who holds a backup must not be able to sign sessions
with it. Keep `ODATA_HOME/secret_key`, or SECRET_KEY, at another place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection

from odata.embedded import binaries
from odata.embedded.errors import StartError
from odata.health import applied_migrations, known_migrations

FORMAT = 1
"""Of the file. A newer one is refused."""
MANIFEST, DATABASE, FILES, CHECKSUMS = "manifest.json", "database.dump", "files/", "checksums.json"
PIECE = 1024 * 1024


class BackupError(Exception):
    """A sentence for the operator: what is wrong, and how to put it right."""


# --- making one --------------------------------------------------------------------------------


def write(target: Path) -> dict[str, Any]:
    """Back up to `target`, which is there whole or not at all. Returns the manifest. Raises BackupError, OSError."""
    if target.exists():
        raise BackupError(f"{target} is there already: name another file, or remove that one.")
    draft = target.with_name(f"{target.name}.unfinished")
    manifest = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "postgres_major": _server_major(),
        "migrations": sorted(map(list, applied_migrations())),
        "secret_key": False,
    }
    sums: dict[str, str] = {}
    try:
        # pg_dump's size is not known before its end, and a tar wants it first: so it waits beside the target.
        with (
            open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out,
            tarfile.open(fileobj=out, mode="w") as tar,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=".dump-") as dump,
        ):
            _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={dump.name}")
            _add(tar, MANIFEST, io.BytesIO(json.dumps(manifest, indent=1).encode()), sums)
            with open(dump.name, "rb") as stream:
                _add(tar, DATABASE, stream, sums)
            for name in _stored():
                try:
                    file = default_storage.open(name)
                except FileNotFoundError:
                    continue  # removed meanwhile: its import was over
                with file:
                    _add(tar, FILES + name, file, sums)
            _add(tar, CHECKSUMS, io.BytesIO(json.dumps(sums).encode()), {})
            tar.close()
            out.flush()
            os.fsync(out.fileno())
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return manifest | {"files": len(sums) - 2, "bytes": target.stat().st_size}


def _add(tar: tarfile.TarFile, name: str, stream: Any, sums: dict[str, str]) -> None:
    """Copy `stream` into the tar, and note its checksum. A file that grows meanwhile is kept as long as it was."""
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    info.size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    hashing = _Hashing(stream)
    tar.addfile(info, hashing)  # type: ignore[arg-type]
    sums[name] = hashing.sum.hexdigest()


class _Hashing:
    """Reads from a stream and remembers the checksum of what was read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._stream.read(size)
        self.sum.update(piece)
        return piece


def _stored(folder: str = "") -> Iterator[str]:
    """All files of the store, by name."""
    if folder == "" and not default_storage.exists(""):
        return
    folders, files = default_storage.listdir(folder)
    for file in sorted(files):
        yield f"{folder}{file}"
    for inner in sorted(folders):
        yield from _stored(f"{folder}{inner}/")


# --- taking one back ---------------------------------------------------------------------------


def read(source: Path, *, replace: bool = False) -> dict[str, Any]:
    """Restore `source`: all of it is checked before anything is changed. Returns the manifest.

    Raises BackupError for a file that is damaged, newer than this code or of a newer PostgreSQL, and for a target
    that holds something already, unless it is to be replaced.
    """
    manifest = verify(source)
    _refuse_newer(manifest)
    if not replace:
        _refuse_non_empty()
    with tarfile.open(source) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is None:
                continue
            if member.name == DATABASE:
                _restore_database(stream)
            elif member.name.startswith(FILES):
                _restore_file(member.name.removeprefix(FILES), stream)
    return manifest


def verify(source: Path) -> dict[str, Any]:
    """The manifest of a backup that is whole. Raises BackupError."""
    manifest: dict[str, Any] = {}
    noted: dict[str, str] | None = None
    found: dict[str, str] = {}
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None or ".." in PurePosixPath(member.name).parts or member.name.startswith("/"):
                    raise BackupError(f"{source} holds {member.name}, which no backup of ours does.")
                if member.name == CHECKSUMS:
                    noted = json.load(stream)
                    continue
                hashing = _Hashing(stream)
                if member.name == MANIFEST:
                    manifest = json.loads(hashing.read())
                while hashing.read(PIECE):
                    pass
                found[member.name] = hashing.sum.hexdigest()
    except (tarfile.TarError, EOFError, ValueError):
        raise BackupError(f"{source} is no backup, or is damaged: take another copy of it.") from None
    if noted is None or DATABASE not in found or "format" not in manifest:
        raise BackupError(f"{source} is cut off or no backup: take another copy of it.")
    if wrong := sorted(name for name in noted.keys() | found.keys() if noted.get(name) != found.get(name)):
        raise BackupError(f"{source} is damaged: {wrong[0]} is not what was backed up. Take another copy of it.")
    return manifest


def _refuse_newer(manifest: dict[str, Any]) -> None:
    unknown = {(app, name) for app, name in manifest["migrations"]} - known_migrations()
    if manifest["format"] > FORMAT or unknown:
        example = f" (it has {'.'.join(min(unknown))})" if unknown else ""
        raise BackupError(f"The backup is of a newer version of this service{example}: update this one first.")
    major = _server_major()
    if manifest["postgres_major"] > major:
        raise BackupError(
            f"The backup is of PostgreSQL {manifest['postgres_major']}, and this server is {major}: restore to a "
            f"server of version {manifest['postgres_major']} or newer."
        )


def _refuse_non_empty() -> None:
    """A database fresh from `migrate` counts as empty."""
    with connection.cursor() as cursor:
        for table in ("products_product", "products_import", "accounts_user"):
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [table])
            if not cursor.fetchone()[0]:
                continue
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608 - names of our own
            if cursor.fetchone()[0]:
                raise BackupError(
                    f"The database is not empty ({table} has rows). Restore to an empty one or, to lose all that is "
                    "there, say --replace."
                )
    if next(_stored(), None) is not None:
        raise BackupError("The store holds files already. Empty it or, to write over them, say --replace.")


def _restore_database(stream: IO[bytes]) -> None:
    """All of it or nothing: the schemas that we use are dropped and made anew in one transaction.

    Whole schemas, not `pg_restore --clean`, which leaves what the dump does not know of.
    """
    with tempfile.TemporaryDirectory(prefix="odata-restore-", dir=_scratch()) as folder:
        script, dump = Path(folder, "restore.sql"), Path(folder, DATABASE)
        with dump.open("wb") as file:
            shutil.copyfileobj(stream, file, PIECE)
        connection.close()
        _run("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", f"--command={EMPTIED}", file=None)
        _run(
            "pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(dump),
            into=True,
        )  # fmt: skip
        script.unlink(missing_ok=True)


def _restore_file(name: str, stream: IO[bytes]) -> None:
    from django.core.files import File

    if default_storage.exists(name):
        default_storage.delete(name)
    default_storage.save(name, File(stream))


def _scratch() -> Path:
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True)
    return Path(settings.FILE_UPLOAD_TEMP_DIR)
