"""The hub of a live process: follows each watched import once, for all the sockets that watch it.

One channel of the channel layer for the process and one small task per watched import, whether one
socket watches it or a thousand. The row is the truth: it is read again every few seconds, and
always before an end is told. What the layer says only makes the watchers see it sooner.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, ParamSpec, TypeVar

from channels.layers import get_channel_layer
from django.db import close_old_connections
from django.db.models.functions import Now

from products import progress
from products.models import Import
from products.progress import ImportDocument

logger = logging.getLogger(__name__)

REREAD_SECONDS = 3.0
"""How often a watched row is read, whatever the layer says: a lost message is late by no more."""
REREAD_SECONDS_ALONE = 1.0
"""The same while the layer is down, when the row is all there is."""
LAYER_TIMEOUT = 1.0
"""Seconds that a word to the layer may take."""

P = ParamSpec("P")
T = TypeVar("T")


class ImportGoneError(Exception):
    """The watched import has been deleted."""


class DatabaseThreads:
    """A few threads, and with them a few connections, for the queries of any number of sockets."""

    def __init__(self, name: str, at_most: int) -> None:
        self._executor = ThreadPoolExecutor(at_most, thread_name_prefix=name)

    async def run(self, query: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def with_connection() -> T:
            close_old_connections()
            try:
                return query(*args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._executor, with_connection)


READERS = DatabaseThreads("hub", 2)
"""The hub's own: a thousand sockets that join at once must not hold up what the others see."""


class Snapshot:
    """An import at one moment, written as JSON once for all the sockets."""

    def __init__(self, document: ImportDocument) -> None:
        self.document = document

    @property
    def ended(self) -> bool:
        return self.document["state"] in Import.END_STATES

    @cached_property
    def document_json(self) -> str:
        return json.dumps(self.document)

    @cached_property
    def task_status_json(self) -> str:
        return json.dumps(progress.task_status(self.document))

    def is_news_after(self, shown: Snapshot, *, from_row: bool) -> bool:
        """Whether this is to be shown after that one. Versions never go down; what time alone changes is no news."""
        version, shown_version = self.document["version"], shown.document["version"]
        if not from_row or version != shown_version:
            # A row that has ended is told even if its version were wrong: nobody may wait for ever.
            return version > shown_version or (from_row and self.ended and not shown.ended)
        return self._lasting() != shown._lasting()

    def _lasting(self) -> dict[str, Any]:
        return {key: value for key, value in self.document.items() if key not in ("rows_per_second", "eta_seconds")}


def read_document(import_id: str) -> ImportDocument | None:
    """The import as its row has it now, by the database's clock."""
    row = Import.objects.select_related("created_by").annotate(read_at=Now()).filter(pk=import_id).first()
    return progress.document(row, now=row.read_at) if row is not None else None


class Feed:
    """One watched import: its newest snapshot, and the task that keeps it new."""

    def __init__(self, hub: Hub, document: ImportDocument) -> None:
        self.import_id = document["id"]
        self.watchers = 0
        self._hub = hub
        self._snapshot = Snapshot(document)
        self._gone = False
        self._failing = False
        self._changed = asyncio.Event()
        self._read_now = asyncio.Event()

    async def newer_than(self, shown: Snapshot | None) -> Snapshot:
        """Wait for a snapshot other than this one; the newest, whatever was in between. Raises ImportGoneError."""
        while True:
            changed = self._changed
            if self._gone:
                raise ImportGoneError
            if self._snapshot is not shown:
                return self._snapshot
            await changed.wait()

    def read(self, document: ImportDocument) -> None:
        """Take what the row said."""
        self._take(Snapshot(document), from_row=True)

    def hear(self, document: ImportDocument) -> None:
        """Take what the layer said; an end has to be in the row before it is told."""
        snapshot = Snapshot(document)
        if snapshot.ended:
            self._read_now.set()
        else:
            self._take(snapshot, from_row=False)

    async def follow(self) -> None:
        """Keep the snapshot new until the import has ended or is gone.

        Joining comes before reading, each time: what is sent from then on is heard, what was
        written before is read. It also heals a layer that was emptied or has forgotten us.
        """
        channel = ""
        try:
            while not (self._snapshot.ended or self._gone):
                self._read_now.clear()
                channel = await self._hub.join(self.import_id)
                await self._reread()
                with suppress(TimeoutError):
                    async with asyncio.timeout(REREAD_SECONDS if channel else REREAD_SECONDS_ALONE):
                        await self._read_now.wait()
        finally:
            await self._hub.leave(self.import_id, channel)

    async def _reread(self) -> None:
        try:
            document = await READERS.run(read_document, self.import_id)
        except Exception as error:
            if not self._failing:
                logger.warning("progress_not_read: import %s: %s", self.import_id, error)
            self._failing = True
            return
        self._failing = False
        if document is not None:
            self.read(document)
        else:
            self._gone = True
            self._wake()

    def _take(self, snapshot: Snapshot, *, from_row: bool) -> None:
        if not self._snapshot.ended and snapshot.is_news_after(self._snapshot, from_row=from_row):
            self._snapshot = snapshot
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Hub:
    """All the feeds of this process, and its one ear at the channel layer."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._tasks: dict[Feed, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._channel = ""
        self._deaf = False

    @contextmanager
    def watching(self, document: ImportDocument) -> Iterator[Feed]:
        """The feed of this import, of which ``document`` was read just now. The first to watch starts it,
        the last to leave ends it."""
        feed = self._feeds.get(document["id"])
        if feed is None:
            feed = self._open(document)
        else:
            feed.read(document)
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                self._close(feed)

    async def join(self, import_id: str) -> str:
        """Have the layer send us what concerns this import. The channel it comes by, or "" if that failed."""
        layer = get_channel_layer()
        try:
            async with asyncio.timeout(LAYER_TIMEOUT):
                channel = await self._address()
                await layer.group_add(progress.group_name(import_id), channel)
        except Exception as error:
            self._layer_failed(error)
            return ""
        if not self._deaf:
            return channel
        # The connection that waits for messages may be a dead one: wait on a new one, by a new name.
        self._deaf = False
        logger.info("live_layer_back")
        self._listen_anew()
        return await self.join(import_id)

    async def leave(self, import_id: str, channel: str) -> None:
        """Have the layer send us no more of this import, unless somebody watches it again already."""
        if not channel or import_id in self._feeds:
            return
        with suppress(Exception):
            async with asyncio.timeout(LAYER_TIMEOUT):
                await get_channel_layer().group_discard(progress.group_name(import_id), channel)

    async def at_rest(self) -> None:
        """Wait until all that was stopped has stopped."""
        await asyncio.gather(*self._stopping)

    def _open(self, document: ImportDocument) -> Feed:
        feed = self._feeds[document["id"]] = Feed(self, document)
        if self._listening is None:
            self._listen_anew()
        self._tasks[feed] = asyncio.create_task(feed.follow())
        return feed

    def _close(self, feed: Feed) -> None:
        del self._feeds[feed.import_id]
        self._tasks.pop(feed).cancel()
        if not self._feeds:
            self._stop_listening()

    def _listen_anew(self) -> None:
        self._stop_listening()
        self._channel = ""
        self._listening = asyncio.create_task(self._listen())

    def _stop_listening(self) -> None:
        if self._listening is not None:
            stopping = asyncio.create_task(_cancel_until_done(self._listening))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            self._listening = None

    async def _address(self) -> str:
        """The name of this process at the layer."""
        if not self._channel:
            self._channel = await get_channel_layer().new_channel("live")
        return self._channel

    async def _listen(self) -> None:
        while True:
            try:
                message = await get_channel_layer().receive(await self._address())
                feed = self._feeds.get(message["document"]["id"])
                if feed is not None:
                    feed.hear(message["document"])
            except Exception as error:
                self._layer_failed(error)
                await asyncio.sleep(REREAD_SECONDS_ALONE)

    def _layer_failed(self, error: Exception) -> None:
        if not self._deaf:
            logger.warning("live_layer_lost: watched rows are read every second instead (%s)", error or repr(error))
        self._deaf = True


async def _cancel_until_done(task: asyncio.Task[None]) -> None:
    """End a task that waits for the layer, which loses a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


HUB = Hub()
