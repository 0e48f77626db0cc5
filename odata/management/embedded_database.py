"""The embedded database for one command, while `up` is not running."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from django.conf import settings

from odata.embedded.servers import start_servers
from odata.embedded.supervisor import Supervisor
from odata.preflight import claim


@contextlib.contextmanager
def database(*, alone: bool = False) -> Iterator[None]:
    """While the database answers: the operator's own, that of a running `up`, or one that is started for this.
    `alone`: not that of a running `up`, whose processes have no connections while nobody asks them for anything.
    Raises StartError, OSError."""
    if not settings.EMBEDDED_POSTGRES or (not alone and _answers()):
        yield
        return
    supervisor = Supervisor(lambda line: None)
    with claim(settings.PLACES):
        if _answers():  # one that an `up` left behind that was killed
            yield
            return
        try:
            start_servers(supervisor, settings.PLACES, valkey=False)
            yield
        finally:
            supervisor.stop_all()


def _answers() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(settings.PLACES.sockets / ".s.PGSQL.5432"))
        return True
    return False
