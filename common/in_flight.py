"""No more at a time in one web process than it can finish; who comes too late is told so, rather than left waiting.

The web server has more threads (WEB_THREADS) than there are places to work in, so that it can answer those who wait
for one, and those who ask how it is. Requests and files have places of their own (WEB_MAX_IN_FLIGHT each): files come
in and go out as slowly as the client's line is, and must not keep all others waiting. So do small bodies, such as JSON
and forms, which are read, in places of their own too, before their request begins: whoever sends one byte of a form and
then nothing keeps others from writing at worst, and nobody from reading. No address has more than a quarter of these
places: it takes several to do even that.

So do logins, LOGINS of them: to check a password takes 100 MB and much of a processor, on purpose, and whoever asks for
it is a stranger. A flood of them keeps others from logging in, and nobody else from anything.

Of requests that are quick, only AT_ONCE are worked on together. Python's threads take turns at one lock, and many that
want it cost a third of the processor in hand-overs (docs/performance.md). Where nothing gets done for STALL seconds,
those at work wait for something else than the processor, so that as many others may begin: up to all places.

A wait is no error: a burst of a thousand quick requests is over in seconds, each answered. Where a place is not free
within PATIENCE, though, something is stuck. From then on requests are refused at once, until there is a free place.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from django.conf import settings
from django.http import HttpRequest, UnreadablePostError
from django.http.response import HttpResponseBase

from common.client_ip import neighbourhood
from common.errors import UnavailableError
from common.explain import SERVER_ERROR, explain
from common.problems import problem_response

PATIENCE = 2.0
"""Seconds that a request waits for a place."""
AT_ONCE = 3
"""Enough to keep one processor busy while PostgreSQL answers the others."""
STALL = 0.005
"""Seconds: as long as Python leaves its lock with a thread that others wait for (sys.getswitchinterval)."""
PASSWORDS = ("/login/", "/account/password/", "/admin/password_change/")
"""Where they are checked."""
LOGINS = 2
ALWAYS = ("/livez", "/readyz", "/metrics")
"""A full server is not a dead one: who asks for its health is answered."""
SMALL_BODIES = ("", "application/json", "application/x-www-form-urlencoded")
"""Types of bodies that are no files."""
FORM = "multipart/form-data"
"""Such a body may be either: a small one is read like those, since strangers may send it, too."""


class Places:
    """So many at a time; all others stand in line, and are served as they came.

    With `share`, nobody has more than that; who comes after them is served all the same.

    With `at_once`, no more than that begin in one round. A new round begins where a whole STALL has passed with others
    in line and no place given back; who is left of earlier rounds counts towards `most` alone.
    """

    def __init__(self, most: int, at_once: int | None = None, share: int | None = None) -> None:
        self._most, self._at_once, self._share = most, at_once or most, share or most
        self._lock = threading.Lock()
        self._line: deque[Turn] = deque()
        self._stuck = False
        self._round = 1
        self._quick = 0
        """Places taken in this round."""
        self._slow = 0
        """Places taken in earlier ones and not given back yet."""
        self._moved = 0
        """How many have been given back in all."""
        self._of: Counter[str] = Counter()
        """Who has how many."""
        self._watched = threading.Event()
        self._watcher: threading.Thread | None = None

    def take(self, patience: float, who: str = "") -> int:
        """A place, to be given back, after `patience` seconds at most. 0 if there is none."""
        with self._lock:
            if self._has_room(who):
                self._stuck = False
                return self._hand_out(who)
            if self._stuck:
                return 0
            self._watch()
            turn = Turn(who)
            self._line.append(turn)
        if turn.came.acquire(timeout=patience):
            return turn.place
        with self._lock:
            if turn not in self._line:
                return turn.place  # just now
            self._line.remove(turn)
            self._stuck = True
            return 0

    def give_back(self, place: int, who: str = "") -> None:
        with self._lock:
            self._moved += 1
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
            if place == self._round:
                self._quick -= 1
            else:
                self._slow -= 1
            self._serve()

    def _is_free(self) -> bool:
        return self._quick < self._at_once and self._quick + self._slow < self._most

    def _has_room(self, who: str) -> bool:
        return self._is_free() and self._of[who] < self._share

    def _hand_out(self, who: str) -> int:
        self._quick += 1
        self._of[who] += 1
        return self._round

    def _serve(self) -> None:
        while self._is_free() and (turn := next((each for each in self._line if self._has_room(each.who)), None)):
            self._line.remove(turn)
            turn.comes(self._hand_out(turn.who))

    def _watch(self) -> None:
        """See to it that the line moves on where those at work do not."""
        if self._at_once == self._most:
            return
        if not self._watched.is_set():
            self._watched.set()
        if self._watcher is None:
            watcher = threading.Thread(target=self._begin_rounds, name="in-flight", daemon=True)
            watcher.start()  # or there is no more room for a thread: the next who waits tries again
            self._watcher = watcher

    def _begin_rounds(self) -> None:
        while True:
            self._watched.wait()
            moved = self._moved
            time.sleep(STALL)
            with self._lock:
                if not self._line:
                    self._watched.clear()
                elif self._moved == moved:
                    self._slow += self._quick
                    self._quick = 0
                    self._round += 1
                    self._serve()


class Turn:
    """Of one who stands in line."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.place = 0
        self.came = threading.Lock()
        self.came.acquire()

    def comes(self, place: int) -> None:
        self.place = place
        self.came.release()


class InFlightMiddleware:
    """Answers 503 where all places are taken for too long."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        # Never all of the threads, even if each place is taken: the others are for those who wait.
        most = max(1, min(settings.WEB_MAX_IN_FLIGHT, settings.WEB_THREADS // 4))
        self.requests, self.files = Places(most, min(AT_ONCE, most)), Places(most)
        self.bodies = Places(most, share=max(1, most // 4))
        self.logins = Places(min(LOGINS, most))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path in ALWAYS:
            return self.get_response(request)
        if request.content_type not in (*SMALL_BODIES, FORM):
            return self._answer(request, self.files)
        if not 0 < _length(request) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            # A form with a file; or nothing to read, or to be refused before it is.
            return self._answer(request, self.files if request.content_type == FORM else self.requests)
        address = neighbourhood(request) or ""
        place = self.bodies.take(PATIENCE, address)
        if not place:
            return _refuse(request, of_files=False)
        try:
            if len(request.body) < _length(request):  # read at one go: nobody has come to where it breaks off
                raise UnreadablePostError("The body ended before its Content-Length.")
        except BaseException as error:
            self.bodies.give_back(place, address)
            if isinstance(error, UnreadablePostError):
                return problem_response(request, explain(error) or SERVER_ERROR)
            raise
        # With its place, until the request has one: no more bodies than there are places lie in memory.
        places = self.logins if request.path in PASSWORDS else self.requests
        return self._answer(request, places, then=partial(self.bodies.give_back, place, address))

    def _answer(
        self, request: HttpRequest, places: Places, then: Callable[[], None] = lambda: None
    ) -> HttpResponseBase:
        """`then` is called when the request has a place, or has got none."""
        try:
            place = places.take(PATIENCE)
        finally:
            then()
        sends_file = places is self.files
        if not place:
            return _refuse(request, of_files=sends_file)
        try:
            response = self.get_response(request)
            return self._stream(request, response, sends_file) if response.streaming else response
        finally:
            places.give_back(place)

    def _stream(self, request: HttpRequest, response: HttpResponseBase, sends_file: bool) -> HttpResponseBase:
        """It goes on for as long as the client takes; then `close` is called, also if the client has hung up."""
        place = self.files.take(0 if sends_file else PATIENCE)
        if not place:
            response.close()
            return _refuse(request, of_files=True)
        closers = response._resource_closers  # type: ignore[attr-defined]  # as Django does
        closers.append(partial(self.files.give_back, place))
        return response


def _length(request: HttpRequest) -> int:
    """Of the body, in bytes, as the request says it; 0 where it does not, for then nothing is read of it."""
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        return 0
    text = request.META.get("CONTENT_LENGTH") or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _refuse(request: HttpRequest, *, of_files: bool) -> HttpResponseBase:
    if of_files:
        words = "As many files as this server can handle are on their way. Try again in 10 seconds."
        error = UnavailableError(words, code="too_busy", retry_after=10)
    else:
        words = "This server works on as many requests as it can. Try again in 2 seconds."
        error = UnavailableError(words, code="too_busy", retry_after=2)
    return problem_response(request, error)
