"""A throw-away home with a PostgreSQL and a Valkey of its own, tuned as `manage.py up` does it.

Import this module before anything of Django's: the settings read the environment that it makes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from odata.embedded.places import Places  # noqa: E402 - found only now
from odata.embedded.servers import start_servers  # noqa: E402
from odata.embedded.supervisor import Supervisor  # noqa: E402


class Place:
    """Where one run takes place: its folder, its servers, and what the processes of it said."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.places = Places(home)
        self.said: list[str] = []
        self.supervisor = Supervisor(self.said.append)
        self.port, self.live_port = free_port(), free_port()
        # Of our own, whatever a terminal or a .env file says. The defaults of everything else are measured.
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "odata.settings",
            "ODATA_HOME": str(home),
            "SECRET_KEY": "only-for-the-benchmarks",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "LIVE_PORT": str(self.live_port),
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "CELERY_BROKER_URL": "",
            "ALLOWED_HOSTS": "127.0.0.1",
            "HTTPS": "false",
            "DEBUG": "false",
            "LOG_LEVEL": "WARNING",
            "LOG_FORMAT": "json",
        }


@contextlib.contextmanager
def fresh_place() -> Iterator[Place]:
    """Servers that have started, with an empty catalogue. All of it is gone afterwards, also after Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="odata-bench-"))
    home.chmod(0o711)  # the database's user passes through
    place = Place(home)
    try:
        start_servers(place.supervisor, place.places)
        migrate()
        yield place
    except BaseException:
        print("\n".join(place.said[-40:]), file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave a server behind
        place.supervisor.in_a_hurry = True
        place.supervisor.stop_all()
        shutil.rmtree(home, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def migrate() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
