"""No more at a time in one web process than it can finish; who comes too late is told so, rather than left waiting.

The web server has more threads (WEB_THREADS) than there are places to work in, so that it can answer those who wait
for one, and those who ask how it is. Requests and files have places of their own (WEB_MAX_IN_FLIGHT each): files come
in and go out as slowly as the client's line is, and must not keep all others waiting.

A wait is no error: a burst of a thousand quick requests is over in seconds, each answered. Where a place is not free
within PATIENCE, though, something is stuck. From then on requests are refused at once, until there is a free place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from common.errors import UnavailableError
from common.problems import problem_response

PATIENCE = 2.0
"""Seconds that a request waits for a place."""
ALWAYS = ("/livez", "/readyz", "/metrics")
"""A full server is not a dead one: who asks for its health is answered."""
SMALL_BODIES = ("", "application/json", "application/x-www-form-urlencoded")
"""Types of bodies that are no files."""


class Places:
    """So many at a time; all others stand in line, and are served as they came."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._free = most
        self._line: deque[threading.Lock] = deque()
        self._stuck = False

    def take(self, patience: float) -> bool:
        """Whether there is a place, after `patience` seconds at most. Who got one gives it back."""
        with self._lock:
            if self._free:
                self._free -= 1
                self._stuck = False
                return True
            if self._stuck:
                return False
            turn = threading.Lock()
            turn.acquire()
            self._line.append(turn)
        if turn.acquire(timeout=patience):
            return True
        with self._lock:
            if turn not in self._line:
                return True  # just now
            self._line.remove(turn)
            self._stuck = True
            return False

    def give_back(self) -> None:
        with self._lock:
            if self._line:
                self._line.popleft().release()
            else:
                self._free += 1


class InFlightMiddleware:
    """Answers 503 where all places are taken for too long."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        # Never more than half of the threads in all: the others are for those who wait.
        most = max(1, min(settings.WEB_MAX_IN_FLIGHT, settings.WEB_THREADS // 4))
        self.requests, self.files = Places(most), Places(most)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path in ALWAYS:
            return self.get_response(request)
        sends_file = request.content_type not in SMALL_BODIES
        places = self.files if sends_file else self.requests
        if not places.take(PATIENCE):
            return _refuse(request, of_files=sends_file)
        try:
            response = self.get_response(request)
            if not response.streaming:
                return response
            # It goes on for as long as the client takes; then `close` is called, also if the client has hung up.
            if not self.files.take(0 if sends_file else PATIENCE):
                response.close()
                return _refuse(request, of_files=True)
            response._resource_closers.append(self.files.give_back)  # type: ignore[attr-defined]  # as Django does
            return response
        finally:
            places.give_back()


def _refuse(request: HttpRequest, *, of_files: bool) -> HttpResponseBase:
    if of_files:
        words = "As many files as this server can handle are on their way. Try again in 10 seconds."
        error = UnavailableError(words, code="too_busy", retry_after=10)
    else:
        words = "This server works on as many requests as it can. Try again in 2 seconds."
        error = UnavailableError(words, code="too_busy", retry_after=2)
    return problem_response(request, error)
