"""What each web process measures of its requests, for `odata.metrics`.

Several web processes write into files of one folder, from which whichever is asked adds them up
(prometheus_client's multiprocess mode). It is switched on by `share_measurements`, before that
library is imported for the first time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
FORGOTTEN_SECONDS = 7 * 24 * 3600


def share_measurements(home: Path) -> None:
    """Have all web processes of one server, which are children of one process, share a folder below `home`.

    Those of servers that are gone are removed. A folder of several machines is fine: each has its own name in it.
    """
    machine = socket.gethostname()
    mine = home / "metrics" / f"{machine}.{os.getppid()}"
    try:
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return  # the rest of the service says what is wrong with its folder: this process then counts alone
    for other in mine.parent.iterdir():
        name, _, pid = other.name.rpartition(".")
        is_gone = not is_alive(int(pid)) if name == machine and pid.isdigit() else is_forgotten(other)
        if is_gone:
            shutil.rmtree(other, ignore_errors=True)
    os.environ[FOLDER] = str(mine)


def is_forgotten(folder: Path) -> bool:
    """Whether nothing was written there for a long time: a machine that is gone, as each container is that is made
    anew. One that serves is asked how it is, and counts that."""
    with contextlib.suppress(OSError):
        return max(each.stat().st_mtime for each in (folder, *folder.iterdir())) < time.time() - FORGOTTEN_SECONDS
    return False


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class LatencyMiddleware:
    """Measures each request until its answer begins; what is streamed after that is not in it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        from prometheus_client import REGISTRY, Histogram

        self.get_response = get_response
        # Django makes a chain of middleware for each handler, of which tests have many: one histogram serves all.
        known = REGISTRY._names_to_collectors.get("odata_request_seconds")
        self.seconds = known or Histogram(
            "odata_request_seconds",
            "Time from a request's arrival at Django to the start of its answer.",
            ("method", "route", "status"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
        )

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = self.get_response(request)
        took = time.perf_counter() - began
        match = request.resolver_match
        # Never the path itself: strangers could make as many series as they like.
        route = match.route if match else "none"
        method = request.method if request.method in METHODS else "other"
        self.seconds.labels(method, route, str(response.status_code)).observe(took)  # type: ignore[attr-defined]
        return response


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
