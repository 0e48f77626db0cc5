"""Where this machine's own programs, and where people, find the web process."""

from __future__ import annotations

from django.conf import settings

WILDCARDS = ("0.0.0.0", "::", "[::]")  # noqa: S104 - compared with, not listened on


def local_host() -> str:
    """Where we reach our own servers: the address they listen on, or this machine if that is all of them."""
    host: str = settings.ENV["HOST"]
    if host in WILDCARDS:
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def local_address() -> str:
    return f"http://{local_host()}:{settings.ENV['PORT']}"


def allowed_host() -> str:
    """A host name that this service answers to: the local one if it may, else the first that is named."""
    hosts: list[str] = settings.ALLOWED_HOSTS
    if not hosts or "*" in hosts or local_host() in hosts:
        return local_host()
    return hosts[0].removeprefix(".")


def local_headers() -> dict[str, str]:
    """What makes a request of our own look as if it came by the public address."""
    headers = {"Host": f"{allowed_host()}:{settings.ENV['PORT']}"}
    return headers | ({"X-Forwarded-Proto": "https"} if settings.HTTPS else {})


def public_address() -> str:
    """The address for people. Behind https the proxy's port counts, not ours."""
    if settings.HTTPS:
        return f"https://{allowed_host()}"
    return f"http://{allowed_host()}:{settings.ENV['PORT']}"
