"""What addresses a host name has, asked of c-ares: no thread per question, and a limit to each.

Saving and sending ask in the same way. libc's getaddrinfo would do neither: it can't be ended (one slow name server
holds a thread for up to 30 s), and leaves IPv6 addresses out on a machine that has none.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import aiodns
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings

TIMEOUT = 2.5
"""Seconds that a look-up may take in all."""


class NameLookupError(OSError):
    """The name has no address, or no name server answers. The message is a sentence."""


class Names(AbstractResolver):
    """The A and AAAA records of names, by WEBHOOK_DNS_SERVERS or else the system's name servers and hosts file."""

    def __init__(self) -> None:
        servers = settings.WEBHOOK_DNS_SERVERS or None
        self._resolver = aiodns.DNSResolver(nameservers=servers, timeout=1.0, tries=2)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of `host`, in the order of RFC 6724. Raises NameLookupError."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self.addresses(host)
        ]

    async def addresses(self, host: str) -> list[str]:
        """All addresses of `host` as texts. Raises NameLookupError."""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._resolver.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise NameLookupError(f"No name server answered for {host} within {TIMEOUT} seconds.") from None
        except (aiodns.error.DNSError, UnicodeError) as error:
            raise NameLookupError(f"The name {host} can't be looked up: {error.args[-1]}.") from None
        found = [node.addr[0].decode("ascii") for node in answer.nodes]
        if not found:
            raise NameLookupError(f"The name {host} has no address.")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def addresses_of(host: str) -> list[str]:
    """The same for code that is not asynchronous. Raises NameLookupError."""

    async def ask() -> list[str]:
        names = Names()
        try:
            return await names.addresses(host)
        finally:
            await names.close()

    # A thread of its own, since the caller's may be running an event loop already.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(ask())).result()
