"""Who is at the other end of a WebSocket, and whether a browser may have opened it.

The same people, sessions and tokens as over HTTP. Nothing here changes a session: a socket has no
answer in which it could hand over a new cookie, so a session that HTTP would renew is only read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import import_module
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils.crypto import constant_time_compare
from django.utils.http import is_same_domain

from accounts.access import holds_one_of
from accounts.authentication import authenticate_token, living_token
from accounts.models import ApiToken, User
from accounts.tickets import redeem_ticket


@dataclass(frozen=True)
class Handshake:
    """The headers of a handshake that say who asks, and from where."""

    host: str
    origin: str | None
    authorization: str
    cookies: dict[str, str]
    ticket: str = field(default="", repr=False)
    token_id: int | None = None
    """Of the token whose ticket was redeemed: from then on the socket lives as long as that token does."""

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]], query: bytes = b"") -> Handshake:
        texts = {name.decode("latin1").lower(): value.decode("latin1") for name, value in headers}
        return cls(
            host=texts.get("host", ""),
            origin=texts.get("origin"),
            authorization=texts.get("authorization", ""),
            cookies=parse_cookie(texts.get("cookie", "")),
            ticket=parse_qs(query.decode("latin1")).get("ticket", [""])[0],
        )


@dataclass(frozen=True)
class Caller:
    """A person, and the token their program carries, if it is one."""

    user: User
    token: ApiToken | None

    def holds_one_of(self, *scopes: str) -> bool:
        return holds_one_of(self.user, self.token, scopes)


def origin_allowed(handshake: Handshake) -> bool:
    """Whether the page that opens this socket may do so.

    Browsers name the page's origin in every handshake (RFC 6455, section 4.1) and add their cookies
    whatever page it is. So a foreign origin is refused, `null` too. Our own pages come from one of
    ALLOWED_HOSTS, but from the web server's port: any port will do, since cookies do not tell
    ports apart either (RFC 6265, section 8.5). Where every host is allowed, the page's has to be
    the one that was asked for. No Origin means no browser, hence nobody whose cookies could be
    abused: programs may connect without.
    """
    if handshake.origin is None:
        return True
    try:
        origin = urlsplit(handshake.origin)
    except ValueError:
        return False
    return _is_our_host(origin, handshake.host) or _is_trusted(origin)


def redeem(handshake: Handshake) -> Handshake:
    """The handshake, with the token of its ticket if it brought one; a ticket that is no good opens nothing."""
    if not handshake.ticket:
        return handshake
    return replace(handshake, token_id=redeem_ticket(handshake.ticket))


def identify(handshake: Handshake) -> Caller | None:
    """Who this is by their token or session, or None. A bad token is never saved by a good cookie."""
    if handshake.ticket:
        token = living_token(handshake.token_id)
        return Caller(token.user, token) if token is not None else None
    scheme, _, full = handshake.authorization.partition(" ")
    if scheme.lower() == "bearer":
        token = authenticate_token(full.strip())
        return Caller(token.user, token) if token is not None else None
    session_key = handshake.cookies.get(settings.SESSION_COOKIE_NAME)
    user = _user_of_session(session_key) if session_key else None
    return Caller(user, None) if user is not None else None


def _is_our_host(origin: SplitResult, host_header: str) -> bool:
    schemes = {"https"} if settings.HTTPS else {"http", "https"}
    host, _ = split_domain_port(origin.netloc)
    if not host or origin.scheme not in schemes:
        return False
    names = _allowed_hosts()
    if "*" in names:
        return host == split_domain_port(host_header)[0]
    return validate_host(host, names)


def _allowed_hosts() -> list[str]:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return [".localhost", "127.0.0.1", "[::1]"]  # as Django does for requests
    return list(settings.ALLOWED_HOSTS)


def _is_trusted(origin: SplitResult) -> bool:
    """By CSRF_TRUSTED_ORIGINS, which may say `https://*.example.com`."""
    for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS):
        if origin.scheme == trusted.scheme and is_same_domain(origin.netloc, trusted.netloc.lstrip("*")):
            return True
    return False


def _user_of_session(session_key: str) -> User | None:
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    backend = session.get(BACKEND_SESSION_KEY)
    if backend not in settings.AUTHENTICATION_BACKENDS or SESSION_KEY not in session:
        return None
    user_id = get_user_model()._meta.pk.to_python(session[SESSION_KEY])
    user = load_backend(backend).get_user(user_id)
    if not isinstance(user, User) or not user.is_active:
        return None
    # A changed password ends its sessions; a rotated SECRET_KEY does not.
    known = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    given = session.get(HASH_SESSION_KEY, "")
    return user if any(constant_time_compare(given, each) for each in known) else None
