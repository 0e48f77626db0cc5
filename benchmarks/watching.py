"""Sockets that watch one import until it has ended, as many as asked for, in one process.

    TOKEN=... watching.py URL COUNT AT_ONCE

says "ready" once each of them has seen the import, and at the end, as one JSON document: for every socket the
versions that it saw and when, for every version when it was written, the close codes, and how many sockets there were
at the beginning and not at the end. A socket that is cut off is not opened again: that counts as a missed end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import datetime
from functools import lru_cache
from typing import Any

import aiohttp

END_STATES = ("SUCCESS", "FAILURE", "CANCELLED")

Seen = tuple[int, float]
"""A version, and when it came."""


@lru_cache(maxsize=64)
def read(text: str) -> tuple[int, str, float | None]:
    """Version, state, and when it was written, of a document that all sockets get alike."""
    document = json.loads(text)
    written = document["finished_at"] if document["state"] in END_STATES else document["heartbeat_at"]
    return document["version"], document["state"], datetime.fromisoformat(written).timestamp() if written else None


class Watching:
    def __init__(self, url: str, count: int, at_once: int) -> None:
        self.url, self.count = url, count
        self.opening = asyncio.Semaphore(at_once)
        self.joined = 0
        self.all_joined = asyncio.Event()
        self.sockets: list[list[Seen]] = []
        self.written: dict[int, float] = {}
        self.codes: list[int | None] = []
        self.ended = 0

    async def run(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            watching = [asyncio.create_task(self.watch(session)) for _ in range(self.count)]
            await self.all_joined.wait()
            print("ready", flush=True)
            await asyncio.gather(*watching)
        return {"sockets": self.sockets, "written": self.written, "codes": self.codes, "ended": self.ended}

    async def watch(self, session: aiohttp.ClientSession) -> None:
        async with self.opening:
            socket = await session.ws_connect(self.url, compress=0, max_msg_size=0)
            first = await socket.receive()
        self.joined += 1
        if self.joined == self.count:
            self.all_joined.set()
        seen: list[Seen] = []
        state = self.note(first, seen)
        async for message in socket:
            state = self.note(message, seen)
        self.sockets.append(seen)
        self.codes.append(socket.close_code)
        self.ended += state in END_STATES

    def note(self, message: aiohttp.WSMessage, seen: list[Seen]) -> str:
        now = time.time()
        if message.type != aiohttp.WSMsgType.TEXT:
            return ""
        version, state, written = read(message.data)
        if not seen or version > seen[-1][0]:
            seen.append((version, now))
            if written is not None:
                self.written.setdefault(version, written)
        return state


if __name__ == "__main__":
    watching = Watching(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(asyncio.run(watching.run())))
