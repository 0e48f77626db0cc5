"""Where webhooks may go: never to a machine that only this server can reach (server-side request forgery).

The judge of addresses is a list of its own, since `ipaddress.is_global` is not a filter: on Python 3.11
it calls 64:ff9b::/96, 2002::/16, fec0::/10, ::/96 and multicast global. The ranges are IANA's special-purpose
registries (RFC 6890 and its successors) and the metadata services of the large clouds.

A URL is judged when it is saved (`check_url`) and again when something is sent (`webhooks.sender`): as a
text, by every address that its name leads to, and by the address of the socket before it connects.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from django.conf import settings

from common.errors import FieldError, InvalidInputError, pointer_to
from webhooks.names import NameLookupError, addresses_of

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_MAX = 2048
HEADERS_MAX = 20
HEADER_VALUE_MAX = 2048
SCHEME_PORTS = {"http": 80, "https": 443}


class RefusedUrlError(InvalidInputError):
    """A URL that webhooks must not, or can't, be sent to."""

    code = "webhook_url_refused"
    title = "This address can't receive webhooks"


class RefusedHeadersError(InvalidInputError):
    """Custom headers that would break, or take over, the request."""

    code = "webhook_headers_refused"
    title = "These headers can't be sent"


# --- addresses ---------------------------------------------------------------------------------

NEVER: tuple[tuple[str, str], ...] = (
    # the first that fits gives the reason, so the narrow ones stand before the wide ones
    ("169.254.169.254/32", "the metadata service of a cloud"),
    ("100.100.100.200/32", "the metadata service of a cloud"),
    ("192.0.0.192/32", "the metadata service of a cloud"),
    ("168.63.129.16/32", "the platform service of a cloud"),  # Azure's; globally routable by its looks
    ("fd00:ec2::254/128", "the metadata service of a cloud"),
    ("0.0.0.0/8", "this machine"),
    ("10.0.0.0/8", "a private network"),
    ("100.64.0.0/10", "a network shared by a carrier's customers"),
    ("127.0.0.0/8", "this machine"),
    ("169.254.0.0/16", "the local link"),
    ("172.16.0.0/12", "a private network"),
    ("192.0.0.0/24", "a network for protocols"),
    ("192.0.2.0/24", "a network for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "a private network"),
    ("198.18.0.0/15", "a network for benchmarks"),
    ("198.51.100.0/24", "a network for documentation"),
    ("203.0.113.0/24", "a network for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "a reserved network"),  # and 255.255.255.255, broadcast
    ("::/128", "this machine"),
    ("::1/128", "this machine"),
    ("::/96", "an IPv4 address in an outdated spelling"),
    ("::ffff:0:0:0/96", "an IPv4 address in a translated spelling"),
    ("64:ff9b::/96", "an IPv4 address behind NAT64"),
    ("64:ff9b:1::/48", "an IPv4 address behind NAT64"),
    ("100::/64", "the network that discards"),
    ("100:0:0:1::/64", "a dummy network"),
    ("2001::/23", "a network for protocols"),  # Teredo, ORCHID, benchmarks
    ("2001:db8::/32", "a network for documentation"),
    ("2002::/16", "an IPv4 address behind 6to4"),
    ("3fff::/20", "a network for documentation"),
    ("5f00::/16", "a network for segment routing"),
    ("fc00::/7", "a private network"),
    ("fe80::/10", "the local link"),
    ("fec0::/10", "a private network"),
    ("ff00::/8", "multicast"),
    # Global unicast is 2000::/3, and nothing else of IPv6 is handed out (IANA's address space registry).
    ("::/3", "a reserved network"),
    ("4000::/2", "a reserved network"),
    ("8000::/1", "a reserved network"),
)
REFUSED: tuple[tuple[Network, str], ...] = tuple((ipaddress.ip_network(text), reason) for text, reason in NEVER)

MAPPED = IPv6Network("::ffff:0:0/96")
LAST_32_BITS = tuple(IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"))
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
ISATAP = 0x5EFE << 32  # RFC 5214: an interface identifier of ::5efe:a.b.c.d or ::200:5efe:a.b.c.d
ISATAP_MASK = 0xFCFF_FFFF << 32


def layers(address: Address) -> Iterator[Address]:
    """The address itself and every IPv4 address that it carries: a tunnel or translator would lead there."""
    if isinstance(address, IPv4Address):
        yield address
        return
    number = int(address)
    if address in MAPPED:  # another spelling of the IPv4 address; sockets connect to that one
        yield IPv4Address(number & 0xFFFF_FFFF)
        return
    yield IPv6Address(number)  # without a zone
    if number <= 1:  # :: and ::1 carry nothing, though they stand in ::/96
        return
    if any(address in network for network in LAST_32_BITS) or number & ISATAP_MASK == ISATAP:
        yield IPv4Address(number & 0xFFFF_FFFF)
    if address in SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    if address in TEREDO:  # RFC 4380: the server, and the client's address with each bit turned over
        yield IPv4Address(number >> 64 & 0xFFFF_FFFF)
        yield IPv4Address(~number & 0xFFFF_FFFF)


@dataclass(frozen=True)
class Policy:
    """What the operator allows beyond the public Internet."""

    allowed: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})

    @classmethod
    def from_settings(cls) -> Policy:
        """WEBHOOK_ALLOWED_CIDRS and WEBHOOK_ALLOWED_PORTS. DEBUG loosens nothing."""
        return _policy(tuple(settings.WEBHOOK_ALLOWED_CIDRS), tuple(settings.WEBHOOK_ALLOWED_PORTS))

    def refusal(self, address: Address) -> str | None:
        """Why nothing is sent to `address`, as in "10.0.0.0/8, a private network", or None where it may be.

        An allowed tunnel (64:ff9b::/96, say) doesn't allow what it leads to: each layer is judged by itself.
        """
        for layer in layers(address):
            if not any(layer in network for network in self.allowed):
                for network, reason in REFUSED:
                    if layer in network:
                        return f"{network}, {reason}"
        return None


@lru_cache(maxsize=16)
def _policy(cidrs: tuple[str, ...], ports: tuple[int, ...]) -> Policy:
    return Policy(tuple(ipaddress.ip_network(cidr) for cidr in cidrs), frozenset(ports))


# --- URLs --------------------------------------------------------------------------------------

ACCEPTED = re.compile(r"[!-~]+\Z")
"""Visible ASCII: what is left out are spaces, control characters and every look-alike of dot, slash and digit."""
# RFC 3986, section 2, without the fragment's # and with the % of escapes; \ ^ ` { | } " < > are no part of a URL.
URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)\Z"
)
AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z")
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")
"""WHATWG URL, "ends in a number": with such a last label, a host is an IPv4 address or nothing."""

KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "localhost": ("127.0.0.1", "::1"),
    "ip6-localhost": ("::1",),
    "ip6-loopback": ("::1",),
    "metadata": ("169.254.169.254",),
    "metadata.goog": ("169.254.169.254",),
    "metadata.google.internal": ("169.254.169.254",),
    "instance-data": ("169.254.169.254",),
    "instance-data.ec2.internal": ("169.254.169.254",),
}
"""Names with a fixed meaning, which hold also where no name server says so (RFC 6761; the clouds' documentation)."""


@dataclass(frozen=True)
class Destination:
    """A URL in parts that are safe to connect to once the addresses are judged."""

    url: str
    scheme: str
    host: str
    """Lower case, without brackets and without a final dot."""
    port: int

    @property
    def literal(self) -> Address | None:
        """The address that is written in the URL instead of a name."""
        if ":" in self.host or NUMBER.match(self.host.rpartition(".")[2]):
            return ipaddress.ip_address(self.host)
        return None


def check_url(url: str) -> None:
    """Refuse a URL that webhooks must not be sent to, before it is saved.

    Names are looked up. One that can't be found is accepted: whether a URL may be saved must not hang on a name
    server, nothing can be sent to a name without an address, and what it leads to later is judged at each
    connection. Raises RefusedUrlError.
    """
    policy = Policy.from_settings()
    there = read_url(url, policy)
    check_addresses(there.host, fixed_addresses(there), policy)
    if there.literal is None:
        try:
            found = addresses_of(there.host)
        except NameLookupError:
            return
        check_addresses(there.host, found, policy)


def read_url(url: str, policy: Policy) -> Destination:
    """The parts of a URL that is fit for webhooks, as far as its text goes. Raises RefusedUrlError."""
    parts = split(url)
    scheme = parts["scheme"].lower()
    if scheme not in SCHEME_PORTS:
        raise RefusedUrlError(
            f"{scheme}:// can't be used: the URL must start with https:// or http://.", code="webhook_url_scheme"
        )
    if "@" in parts["authority"]:
        raise RefusedUrlError(
            "The URL holds a user name or password. Send it in a header of its own instead, such as Authorization.",
            code="webhook_url_userinfo",
        )
    authority = AUTHORITY.match(parts["authority"])
    if authority is None:
        raise RefusedUrlError(f"{parts['authority']!r} is not a host with or without a port.", code="webhook_url_host")
    port = int(authority["port"] or SCHEME_PORTS[scheme])
    if port not in policy.ports:
        known = ", ".join(str(port) for port in sorted(policy.ports))
        raise RefusedUrlError(
            f"Port {port} is not open to webhooks: use one of {known}, or let an operator add it to "
            "WEBHOOK_ALLOWED_PORTS.",
            code="webhook_url_port",
        )
    return Destination(url, scheme, read_host(authority["host"].lower()), port)


def split(url: str) -> re.Match[str]:
    if len(url) > URL_MAX:
        raise RefusedUrlError(f"The URL has {len(url)} characters; {URL_MAX} is the most.", code="webhook_url_length")
    if not ACCEPTED.match(url):
        raise RefusedUrlError(
            "The URL must not be empty, and hold only visible ASCII characters: no space or control character. "
            "Percent-encode the others in a path, and write a host in its xn-- form.",
            code="webhook_url_characters",
        )
    if "\\" in url:
        raise RefusedUrlError(
            "The URL holds a backslash, which programs read in different ways. Use / or %5C.",
            code="webhook_url_characters",
        )
    if "#" in url:
        raise RefusedUrlError(
            "The URL has a fragment (#...), which is never sent. Leave it out.", code="webhook_url_fragment"
        )
    parts = URL.match(url)
    if parts is None:
        raise RefusedUrlError("This is not a URL of the form https://host/path.", code="webhook_url_malformed")
    return parts


def read_host(host: str) -> str:
    """The host without brackets and final dot. Raises RefusedUrlError for what is no name and no plain address."""
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            raise RefusedUrlError(f"{host} is not an IPv6 address.", code="webhook_url_host") from None
    name = host[:-1] if host.endswith(".") else host
    labels = name.split(".")
    if NUMBER.match(labels[-1]):
        return read_ipv4(host)
    if len(name) > 253 or not all(LABEL.match(label) for label in labels):
        raise RefusedUrlError(f"{host} is not a host name.", code="webhook_url_host")
    return name


def read_ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError:
        raise RefusedUrlError(
            f"{host} is not an address in its plain form, four decimal numbers as in 198.51.100.7: no octal or "
            "hexadecimal numbers, none left out.",
            code="webhook_url_host",
        ) from None


def fixed_addresses(there: Destination) -> Sequence[str]:
    """What a URL leads to whatever a name server says."""
    if there.literal is not None:
        return (str(there.literal),)
    if there.host.endswith(".localhost"):
        return KNOWN_NAMES["localhost"]
    return KNOWN_NAMES.get(there.host, ())


def check_addresses(host: str, addresses: Iterable[str], policy: Policy) -> None:
    """Refuse a host if any of its addresses must not be reached: the next connection might take that one.

    The sentence tells the range and not the address, so that nobody reads the names of an inner network with it.
    """
    for address in addresses:
        refusal = policy.refusal(ipaddress.ip_address(address))
        if refusal is not None:
            raise RefusedUrlError(
                f"{host} leads to {refusal}. Webhooks go to public addresses only; an operator may allow a range "
                "in WEBHOOK_ALLOWED_CIDRS.",
                code="webhook_url_address",
            )


# --- headers -----------------------------------------------------------------------------------

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
HEADER_VALUE = re.compile(r"[!-~]([ \t!-~]*[!-~])?\Z")
"""RFC 9110, section 5.5, kept to ASCII; CR, LF and NUL would let a value write headers or a second request."""
FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "keep-alive"}
)
"""Headers that say where a request goes and where it ends."""
RESERVED = FRAMING | {
    "accept-encoding",
    "content-encoding",
    "content-type",
    "cookie",
    "forwarded",
    "http2-settings",
    "set-cookie",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
}
RESERVED_PREFIXES = ("webhook-", "proxy-", "sec-", "x-forwarded-", "access-control-")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse custom headers that an endpoint must not have. Raises RefusedHeadersError, with one error a header."""
    if len(headers) > HEADERS_MAX:
        raise RefusedHeadersError(
            f"There are {len(headers)} headers; {HEADERS_MAX} is the most.", code="webhook_headers_count"
        )
    errors = list(_header_errors(headers))
    if errors:
        raise RefusedHeadersError(errors[0].message, code=errors[0].code, errors=errors)


def _header_errors(headers: Mapping[str, str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for name, value in headers.items():
        pointer = "/headers" + pointer_to(name)
        lower = name.lower()
        if not HEADER_NAME.match(name):
            yield FieldError(
                pointer,
                "webhook_header_name",
                f"{name!r} is not the name of a header: use letters, digits and hyphens.",
            )
        elif lower in RESERVED or lower.startswith(RESERVED_PREFIXES):
            yield FieldError(
                pointer,
                "webhook_header_reserved",
                f"{name} is set by this service or by the connection. Leave it out, or use a name of your own, "
                f"such as X-{name}.",
            )
        elif lower in seen:
            yield FieldError(pointer, "webhook_header_twice", f"{name} is there twice: upper and lower case are one.")
        elif len(value) > HEADER_VALUE_MAX or not HEADER_VALUE.match(value):
            yield FieldError(
                pointer,
                "webhook_header_value",
                f"The value of {name} must be 1 to {HEADER_VALUE_MAX} visible ASCII characters, with spaces "
                "between them at most: no line breaks.",
            )
        seen.add(lower)


def check_sent_headers(headers: Mapping[str, str]) -> None:
    """Refuse, before anything is sent, headers that could move or split the request. Raises RefusedHeadersError."""
    for name, value in headers.items():
        if name.lower() in FRAMING or not HEADER_NAME.match(name) or not HEADER_VALUE.match(value):
            raise RefusedHeadersError(f"The header {name!r} can't be sent.", code="webhook_header_value")
