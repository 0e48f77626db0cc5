"""The web server, which drains before it stops: `python -m odata.web`, with the arguments of granian.

At SIGTERM `/readyz` says 503 from then on, while everything else is served as before. After
DRAIN_SECONDS, by when load balancers have looked and send requests elsewhere, granian takes no more
connections, lets the requests in flight end, and ends itself. A second signal ends the waiting.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

os.environ.setdefault("ODATA_PROCESS", "web")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")

import granian.cli
from django.conf import settings
from granian.server.mp import MPServer

from common.stopping import ask_to_stop, stopping


class DrainingServer(MPServer):
    """Granian's server of several processes; its workers are forked and so see the one flag of `common.stopping`."""

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """The handler of SIGTERM and SIGINT in the main process."""
        if os.getpid() != self.pid:
            os._exit(0)  # a worker that still starts, and has no handler of its own yet: it would never stop
        first = not stopping()
        ask_to_stop()
        if first and settings.DRAIN_SECONDS:
            timer = threading.Timer(settings.DRAIN_SECONDS, super().signal_handler_interrupt)
            timer.daemon = True
            timer.start()
        else:
            super().signal_handler_interrupt(*args, **kwargs)


def main() -> None:
    multiprocessing.set_start_method("fork")  # else each worker would have a flag of its own
    granian.cli.Server = DrainingServer
    granian.cli.entrypoint()


if __name__ == "__main__":
    main()
