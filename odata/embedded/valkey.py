"""A Valkey of our own: queue and channel layer, behind a socket in a closed folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from odata.embedded import binaries
from odata.embedded.errors import StartError
from odata.embedded.places import Account, Places
from odata.embedded.supervisor import Program, Supervisor, await_ready

START_SECONDS = 120
FAREWELL_SECONDS = 30


@dataclass(frozen=True)
class Valkey:
    """The server on one data folder."""

    places: Places
    account: Account
    server: Path

    @classmethod
    def at(cls, places: Places) -> Valkey:
        """Find program and user for these places. Raises StartError."""
        account = places.account()
        return cls(places, account, binaries.valkey_server(places, account))

    def start(self, supervisor: Supervisor) -> None:
        """Start it and wait until it has read its data. Raises StartError."""
        self._await_farewell()
        child = supervisor.start(self.program())
        await_ready(child, self.answers, seconds=START_SECONDS)

    def _await_farewell(self) -> None:
        """Two servers must never write one folder: wait for that of an earlier, killed run."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        while self.answers():
            if time.monotonic() > deadline:
                raise StartError(f"A Valkey of an earlier start still uses {self.places.valkey_data}: end it first.")
            time.sleep(0.2)

    def program(self) -> Program:
        settings = {
            "port": "0",
            "unixsocket": str(self.places.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.places.valkey_data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": "512mb",
            # A queue must say that it is full: evicting would drop messages without a word.
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Program(
            name="valkey",
            command=(str(self.server), *options),
            stage=1,
            account=self.account,
            stop_seconds=60,
        )

    def answers(self) -> bool:
        # Without the client's own retries, which take seconds: the caller asks again.
        client = redis.Redis(
            unix_socket_path=str(self.places.valkey_socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
