"""The dispatcher: claims deliveries, sends them, and writes down what came of it, as long as there is work.

One event loop: the claims and the results have a connection to the database each, so that neither waits for the
other, and every delivery in hand is a coroutine. Nothing that counts is in memory only: a dispatcher that is killed
leaves claims that run out. Several may run at a time, on many machines.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db import connection as django_connection

from common.stopping import stopping
from webhooks import claims, results, switching
from webhooks.attempted import not_sent
from webhooks.claims import Claimed
from webhooks.models import message_id
from webhooks.results import Made
from webhooks.sender import Sender
from webhooks.targets import Target, Targets

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""Between two looks for work, while some is in hand or was lately."""
LEAST_PAUSE = 0.02
"""Between two looks for work, however much there is."""
LINGER_SECONDS = 1.5
"""How long a dispatcher that has had work goes on looking for more. Nudges may be rarer by that."""
TAKE_BACK_SECONDS = 1.0
RUN_SECONDS = 60.0
"""After so long a dispatcher hands over to the next, though there is work: the worker then takes, and throws away, the
messages that have come in the meantime."""
HANDING_OVER = 0x0DA7A
"""The advisory lock of the one that does. The others go on claiming while it waits for its last answers."""
GATHER_SECONDS = 0.02
"""How long results are gathered for one transaction."""
BATCH = 500
"""Most results in one transaction."""
DATABASE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError)
"""By the connections of its own, and by Django's."""


def run() -> int:
    """Deliver what is due, until there is no more or the worker is to stop. Returns how many attempts were made.

    That the database goes away ends it: what was in hand is sent again when its claim has run out.
    """
    dispatcher = Dispatcher()
    try:
        asyncio.run(dispatcher.run())
    except DATABASE_AWAY as error:
        logger.warning("webhook_dispatcher_ended: %s", error)
    return dispatcher.attempts


class Dispatcher:
    def __init__(self, *, places: int | None = None, is_to_stop: Callable[[], bool] = stopping) -> None:
        self.attempts = 0
        self._places = places or settings.WEBHOOK_IN_FLIGHT
        self._is_to_stop = is_to_stop
        self._in_hand = 0
        """Claimed, and the result not written yet."""
        self._made: asyncio.Queue[Made] = asyncio.Queue()
        self._freed = asyncio.Event()
        self._targets = Targets()
        self._in_trouble = 0
        """Endpoints of which people are just being told."""
        # Django's connections belong to a thread. Mail servers have one of their own: they may take long.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="webhooks")
        self._mailing = ThreadPoolExecutor(1, thread_name_prefix="webhooks-mail")

    async def run(self) -> None:
        """Raises one of DATABASE_AWAY where the database has gone."""
        async with AsyncExitStack() as stack:
            for thread in (self._thread, self._mailing):
                stack.push_async_callback(_close, thread)
            self._claims = await stack.enter_async_context(await connect())
            if not await self._has_work():
                return
            self._results = await stack.enter_async_context(await connect())
            self._sender = await stack.enter_async_context(Sender())
            # A failure of either ends the group, and with it what is on its way.
            try:
                async with asyncio.TaskGroup() as group:
                    writer = group.create_task(self._write_results(group))
                    await self._claim_all(group)
                    while self._in_hand:
                        self._freed.clear()
                        await self._freed.wait()
                    writer.cancel()
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _has_work(self) -> bool:
        await claims.take_back(self._claims)
        self._first = await claims.claim(self._claims, self._places)
        return bool(self._first)

    async def _claim_all(self, group: asyncio.TaskGroup) -> None:
        """Claim and send until there was nothing to do for a while, or the worker is to stop."""
        claimed, started = self._first, time.monotonic()
        looked = worked = taken_back = started
        while True:
            if claimed:
                worked = looked
                await self._send_all(group, claimed)
            idle = not (self._in_hand or self._in_trouble)
            if self._is_to_stop() or (idle and looked - worked > LINGER_SECONDS):
                return
            await self._pause(looked)
            if self._is_to_stop():
                return
            looked = time.monotonic()
            if looked - taken_back > TAKE_BACK_SECONDS:
                await claims.take_back(self._claims)
                taken_back = looked
                if looked - started > RUN_SECONDS and await self._may_hand_over():
                    return
            free = self._places - self._in_hand
            claimed = await claims.claim(self._claims, free) if free else []

    async def _may_hand_over(self) -> bool:
        """One at a time; the lock goes with the connection."""
        row = await (await self._claims.execute("SELECT pg_try_advisory_lock(%s)", [HANDING_OVER])).fetchone()
        return bool(row and row[0])

    async def _pause(self, looked: float) -> None:
        """Until places are freed, or it is time to look again."""
        self._freed.clear()
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._freed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, looked + LEAST_PAUSE - time.monotonic()))

    async def _send_all(self, group: asyncio.TaskGroup, claimed: list[Claimed]) -> None:
        targets = await _in(self._thread, self._targets.known, {each.endpoint_id for each in claimed})
        bodies = await claims.bodies(self._claims, {each.event_id for each in claimed})
        for each in claimed:
            if each.endpoint_id in targets:  # or it was just removed, and its deliveries with it
                self._in_hand += 1
                group.create_task(self._send(each, targets[each.endpoint_id], bodies.get(each.event_id)))

    async def _send(self, claimed: Claimed, target: Target, body: str | None) -> None:
        made = await attempt(self._sender, claimed, target, body)
        self.attempts += 1
        self._made.put_nowait(made)

    async def _write_results(self, group: asyncio.TaskGroup) -> None:
        while True:
            batch = [await self._made.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while not self._made.empty() and len(batch) < BATCH:
                batch.append(self._made.get_nowait())
            troubles = await results.write(self._results, batch)
            self._in_hand -= len(batch)
            self._freed.set()
            self._in_trouble += len(troubles)
            for trouble in troubles:
                group.create_task(self._handle(trouble))

    async def _handle(self, trouble: results.Trouble) -> None:
        """Beside the results, which must be written before their claims run out, whatever a mail server does."""
        await _in(self._mailing, switching.handle, trouble)
        self._in_trouble -= 1


async def _in(thread: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(thread, function, *arguments)


async def _close(thread: ThreadPoolExecutor) -> None:
    await _in(thread, lambda: django_connection.close())  # the thread's own, not ours
    thread.shutdown()


async def connect() -> claims.Rows:
    """A connection of the dispatcher's own, with the settings of all others."""
    parameters = django_connection.get_connection_params()
    for name in ("cursor_factory", "context"):  # Django's own, for its own connections
        parameters.pop(name, None)
    parameters["autocommit"] = True
    return await psycopg.AsyncConnection.connect(**parameters)


async def attempt(sender: Sender, claimed: Claimed, target: Target, body: str | None) -> Made:
    """Sign and send one delivery. Whatever goes wrong is in what it returns."""
    started_at = datetime.now(UTC)
    if target.problem or body is None:
        problem = target.problem or "What the event says is not kept any more."
        return Made(claimed, target, {}, started_at, not_sent(problem))
    sent = body.encode()
    headers = target.request_headers(message_id(claimed.event_id), int(started_at.timestamp()), sent)
    attempted = await sender.send(url=target.url, headers=headers, body=sent, timeout=target.timeout)
    return Made(claimed, target, target.shown(headers), started_at, attempted)
