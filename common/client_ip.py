"""Where a request comes from, as far as that can be believed."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def client_ip(request: HttpRequest) -> str | None:
    """The address of the client, or None if there is none that can be read.

    Whoever sends a request can write an X-Forwarded-For into it; only what our own proxies appended,
    at its right end, is worth something. So PROXY_COUNT of them are counted from there, and without
    proxies the header is not looked at.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    if settings.PROXY_COUNT:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        if len(hops) >= settings.PROXY_COUNT:
            peer = hops[-settings.PROXY_COUNT]
    if peer.startswith("["):  # some proxies add the port: 198.51.100.7:50123, [2001:db8::7]:50123
        peer = peer[1:].partition("]")[0]
    elif peer.count(":") == 1:
        peer = peer.partition(":")[0]
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])  # of an address of the local link, the zone follows
    except ValueError:
        return None
    # A server that listens on `::` sees IPv4 clients as ::ffff:198.51.100.7, which are no neighbours of each other.
    return str(getattr(address, "ipv4_mapped", None) or address)


def neighbourhood(request: HttpRequest) -> str | None:
    """Who counts as one where tries are counted: an address, of IPv6 the /64, of which one customer has all."""
    address = client_ip(request)
    if address and ":" in address:
        return str(ipaddress.ip_network(f"{address}/64", strict=False).network_address)
    return address
