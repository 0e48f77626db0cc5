"""Where the embedded servers keep their data and their sockets, and as whom they run.

Everything follows from ODATA_HOME, so that any command finds the running servers without being
told: `manage.py shell` in a second terminal talks to the database that `manage.py up` started.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from odata.embedded.errors import StartError

LONGEST_SOCKET_PATH = 103
"""Bytes of `sun_path` less the closing NUL: 107 on Linux (unix(7)), 103 on macOS and the BSDs."""

SHELTERS = Path("/var/lib")
"""Where a database goes whose home is closed to the user it runs as, such as a clone in /root."""


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, uid: int) -> Account:
        """The account with this number. Raises StartError: PostgreSQL needs its user to have a name."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise StartError(
                f"User number {uid} has no name on this machine, and PostgreSQL needs one: "
                f"start as a user that /etc/passwd names, or set DATABASE_URL and REDIS_URL."
            ) from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True)
class Places:
    """The folders below one ODATA_HOME."""

    home: Path

    @property
    def digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]

    @property
    def servers(self) -> Path:
        """Folder of the two servers' folders: home, or a shelter that the servers' user can reach.

        Data that once went to the shelter stays there, whatever becomes of home's permissions.
        """
        if os.geteuid() != 0:
            return self.home
        shelter = SHELTERS / f"odata-{self.digest}"
        return shelter if shelter.exists() or not open_to_others(self.home.parent) else self.home

    @property
    def postgres_data(self) -> Path:
        return self.servers / "postgres"

    @property
    def valkey_data(self) -> Path:
        return self.servers / "valkey"

    @property
    def sockets(self) -> Path:
        """Folder of both sockets; below /tmp where the path would be too long for a socket."""
        near = self.servers / "run"
        if len(os.fsencode(near / ".s.PGSQL.5432.lock")) <= LONGEST_SOCKET_PATH:
            return near
        # Not the TMPDIR of one terminal: every command must come to the same answer.
        return Path(f"/tmp/odata-{os.geteuid()}-{self.digest}")  # noqa: S108 - see `private_folder`

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def database_url(self) -> str:
        return f"postgresql://odata@/odata?host={quote(str(self.sockets), safe='')}"

    @property
    def redis_url(self) -> str:
        return f"unix://{self.valkey_socket}?db=0"

    def account(self) -> Account:
        """Whom the servers run as: us or, as PostgreSQL refuses root, the data's owner or `nobody`."""
        if os.geteuid() != 0:
            return Account.of(os.geteuid())
        if self.postgres_data.exists() and (owner := self.postgres_data.stat().st_uid) != 0:
            return Account.of(owner)
        return Account.of(pwd.getpwnam("nobody").pw_uid)

    def make_home(self) -> None:
        """Make home, closed to other users. Raises OSError.

        Root's home can be passed through, though not listed: the servers' user must reach its own
        folders, each of which is closed to everybody else.
        """
        mode = home_mode()
        for folder in (*reversed(self.home.parents), self.home):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                folder.chmod(0o711 if folder != self.home else mode)
        if self.home.stat().st_uid == os.geteuid():
            self.home.chmod(mode)

    def make_server_folders(self, account: Account) -> None:
        """Make what the servers need before they make their own. Raises OSError, StartError."""
        if self.servers != self.home:
            self.servers.mkdir(mode=0o711, exist_ok=True)
            self.servers.chmod(0o711)
        for folder in (self.sockets, self.valkey_data):
            private_folder(folder, account)


def home_mode() -> int:
    return 0o711 if os.geteuid() == 0 else 0o700


def open_to_others(folder: Path) -> bool:
    """Can any user reach what is in this folder? Folders that are not there yet count as open."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents) if part.exists())


def private_folder(folder: Path, account: Account) -> None:
    """Make a folder of `account` alone. Raises StartError if there is something of another user's.

    In /tmp anybody may have made it first, so what is there is looked at, never trusted.
    """
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        pass
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid not in (account.uid, os.geteuid()):
        raise StartError(f"{folder} is not a folder of user {account.name}: remove it or set another ODATA_HOME.")
    if state.st_uid != account.uid:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)
