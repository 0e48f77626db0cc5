"""Sockets that show an import while it runs. Each authorises, joins the hub's feed, and sends what is new.

Close codes, for clients: 1000 the end was told, do not come back; 1006 cut off, as by a server that
is killed, come back; 4500 and 4503 our fault, come back later; 4401 who are you, 4403 you may not,
4404 there is no such import for you, 4413 too large a frame, 4429 too many sockets or frames (as
HTTP's 401, 403, 404, 413, 429). Of the codes below 3000 daphne sends 1000 alone: it fails for any
other, and leaves the socket open.
A socket is accepted before it is refused, since browsers can't read why a handshake failed;
only a foreign origin is turned away at the door.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models.functions import Now

from accounts.models import Scope
from accounts.sockets import Caller, Handshake, identify, origin_allowed, redeem
from products import progress
from products.hub import HUB, DatabaseThreads, Feed, ImportGoneError, Snapshot
from products.models import Import
from products.progress import ImportDocument

logger = logging.getLogger(__name__)

AUTHORISERS = DatabaseThreads("sockets", 4)
RECHECK_SECONDS = (30.0, 50.0)
"""Who you are and what you may see is asked again within this time, at random so that a thousand
sockets which joined together do not ask together. So a logout closes within a minute."""
MAX_FRAME_BYTES = 64 * 1024
MAX_FRAMES_PER_MINUTE = 100
"""A watcher has nothing to say. Some libraries send a keep-alive now and then, that is all."""


class RefusedError(Exception):
    """This socket gets nothing (more); ``close_code`` tells why."""

    def __init__(self, close_code: int) -> None:
        super().__init__(close_code)
        self.close_code = close_code


def authorise(handshake: Handshake, import_id: str) -> tuple[Caller, ImportDocument]:
    """Who asks, and the import as its row is now. Raises RefusedError unless they may see it."""
    caller = identify(handshake)
    if caller is None:
        raise RefusedError(4401)
    if not caller.holds_one_of(Scope.READ, Scope.IMPORT):
        raise RefusedError(4403)
    try:
        key = UUID(import_id)
    except ValueError:
        raise RefusedError(4404) from None
    visible = Import.objects.visible_to(caller.user).select_related("created_by").annotate(read_at=Now())
    row = visible.filter(pk=key).first()
    if row is None:
        raise RefusedError(4404)
    return caller, progress.document(row, now=row.read_at)


class Seats:
    """How many sockets of this process each person has open."""

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    @contextmanager
    def taken_by(self, user_id: int) -> Iterator[None]:
        if self._taken[user_id] >= settings.LIVE_SOCKETS_PER_USER:
            raise RefusedError(4429)
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]


SEATS = Seats()


class ImportConsumer(AsyncWebsocketConsumer):
    """Sends the import document at once, then whenever there is a newer one, and closes after the end."""

    channel_layer_alias = None  # the hub listens for all

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        self._showing: asyncio.Task[None] | None = None
        self._frames, self._minute = 0, 0.0
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._showing is not None:
                self._showing.cancel()

    async def connect(self) -> None:
        handshake = Handshake.of(self.scope["headers"], self.scope.get("query_string", b""))
        if not origin_allowed(handshake):
            await self.close()  # answered as 403, before there is a socket
            return
        await self.accept()
        self._showing = asyncio.create_task(self._show_until_over(handshake))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Drop what the client says, and the client if it says much."""
        minute = time.monotonic() // 60
        self._frames = self._frames + 1 if minute == self._minute else 1
        self._minute = minute
        if len(bytes_data if bytes_data is not None else (text_data or "").encode()) > MAX_FRAME_BYTES:
            await self._stop(4413)
        elif self._frames > MAX_FRAMES_PER_MINUTE:
            await self._stop(4429)

    def frame(self, snapshot: Snapshot) -> str:
        return snapshot.document_json

    async def _show_until_over(self, handshake: Handshake) -> None:
        try:
            handshake = await AUTHORISERS.run(redeem, handshake)
            caller, document = await self._authorise(handshake)
            with SEATS.taken_by(caller.user.pk), HUB.watching(document) as feed:
                await self._show(feed, handshake)
        except RefusedError as refused:
            await self.close(refused.close_code)
        except ImportGoneError:
            await self.close(4404)
        except DatabaseError as error:
            logger.warning("socket_not_authorised: %s", error)
            await self.close(4503)
        except Exception:
            logger.exception("socket_failed")
            await self.close(4500)
        else:
            await self.close(1000)

    async def _show(self, feed: Feed, handshake: Handshake) -> None:
        """Send the newest snapshot, again and again; a slow socket skips those in between."""
        shown: Snapshot | None = None
        check_at = _next_check()
        while shown is None or not shown.ended:
            try:
                async with asyncio.timeout_at(check_at):
                    shown = await feed.newer_than(shown)
            except TimeoutError:
                await self._recheck(handshake)
                check_at = _next_check()
            else:
                await self.send(text_data=self.frame(shown))

    async def _authorise(self, handshake: Handshake) -> tuple[Caller, ImportDocument]:
        import_id = self.scope["url_route"]["kwargs"]["import_id"]
        return await AUTHORISERS.run(authorise, handshake, import_id)

    async def _recheck(self, handshake: Handshake) -> None:
        try:
            await self._authorise(handshake)
        except DatabaseError as error:
            # A right that can't be looked up can't have been taken away just now either.
            logger.warning("socket_not_rechecked: %s", error)

    async def _stop(self, code: int) -> None:
        if self._showing is not None:
            self._showing.cancel()
        await self.close(code)


class TaskConsumer(ImportConsumer):
    """The same in a task's words, under the path of the service before this one."""

    def frame(self, snapshot: Snapshot) -> str:
        return snapshot.task_status_json


class NothingHereConsumer(AsyncWebsocketConsumer):
    """Any other path: says 4404 as for an unknown import."""

    channel_layer_alias = None

    async def connect(self) -> None:
        await self.accept()
        await self.close(4404)


def _next_check() -> float:
    return asyncio.get_running_loop().time() + random.uniform(*RECHECK_SECONDS)  # noqa: S311 (no secret)
