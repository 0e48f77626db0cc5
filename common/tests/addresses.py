"""Where other processes listen, and where they find the database of the tests."""

from __future__ import annotations

import socket
from urllib.parse import quote, urlencode

from django.db import connection


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def database_url() -> str:
    """The tests' database, for another process. Connects to nothing."""
    told = connection.get_connection_params()
    person = quote(told.get("user", ""), safe="")
    if told.get("password"):
        person += ":" + quote(told["password"], safe="")
    where = {name: told[name] for name in ("host", "port", "sslmode") if told.get(name)}
    return f"postgresql://{person}@/{told['dbname']}?{urlencode(where)}"
