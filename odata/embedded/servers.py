"""Both embedded servers, as one thing to start."""

from __future__ import annotations

from odata.embedded.places import Places
from odata.embedded.postgres import Postgres
from odata.embedded.supervisor import Supervisor
from odata.embedded.valkey import Valkey


def start_servers(
    supervisor: Supervisor, places: Places, *, postgres: bool = True, valkey: bool = True, durable: bool = True
) -> None:
    """Start what is wanted and return when it answers. Raises StartError, OSError.

    Give a new `Places(folder)` and ``durable=False`` for a throw-away pair, as the tests do;
    `supervisor.stop_all()` ends them.
    """
    places.make_home()
    places.make_server_folders(places.account())
    if postgres:
        Postgres.at(places, durable=durable).start(supervisor)
    if valkey:
        Valkey.at(places).start(supervisor)
