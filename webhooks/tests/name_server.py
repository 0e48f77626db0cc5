"""A name server of our own: it answers as told, with a time to live of 0, and may change its mind."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

A, AAAA = 1, 28
NXDOMAIN = 3


class NameServer:
    """`answers[name]` holds one list of addresses for each look-up in turn; the last one stays."""

    def __init__(self) -> None:
        self.address = ""
        self.forget()

    def forget(self) -> None:
        """All that it was told, and was asked."""
        self.answers: dict[str, Sequence[Sequence[str]]] = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self.silent = False

    def answer(self, question: bytes) -> bytes:
        """RFC 1035, section 4: the header, the question and its records."""
        name, end = read_name(question)
        kind = struct.unpack("!H", question[end : end + 2])[0]
        turns = self.answers.get(name)
        turn = self.asked[name, kind]
        self.asked[name, kind] += 1
        addresses = turns[min(turn, len(turns) - 1)] if turns else []
        records = [record(address) for address in map(ip_address, addresses) if kind == (A, AAAA)[address.version == 6]]
        flags = 0x8180 | (0 if turns else NXDOMAIN)
        header = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        return header + question[12 : end + 4] + b"".join(records)


def read_name(question: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    return ".".join(labels), at + 1


def record(address: IPv4Address | IPv6Address) -> bytes:
    kind = A if address.version == 4 else AAAA
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(address.packed)) + address.packed


@contextmanager
def name_server() -> Iterator[NameServer]:
    """A NameServer that listens on a port of its own, in a thread."""
    told = NameServer()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            question, sock = self.request
            if not told.silent:
                sock.sendto(told.answer(question), self.client_address)

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        told.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
