"""What `manage.py check` says about wrong settings, in plain words (Django's system checks)."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 - Django's name

from odata.environment import SETTINGS

HELP = {setting.name: setting.help for setting in SETTINGS}


@register()
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Everything the environment can get wrong."""
    return [
        *unusable_settings(),
        *hosts(),
        *ports(),
        *addresses_of_live(),
        *secure_origins(),
        *webhooks(),
    ]


def unusable_settings() -> Iterator[CheckMessage]:
    for problem in settings.SETTING_PROBLEMS:
        yield Error(str(problem), hint=HELP.get(problem.name.removesuffix("_FILE")), id="odata.E001")


def hosts() -> Iterator[CheckMessage]:
    if not settings.ALLOWED_HOSTS and not settings.DEBUG:
        yield Error(
            "ALLOWED_HOSTS is empty, so every request would be refused.",
            hint="Name the hosts that browsers use, as in ALLOWED_HOSTS=catalogue.example.com.",
            id="odata.E002",
        )
    public = [host for host in settings.ALLOWED_HOSTS if not is_local(host)]
    if settings.DEBUG and public:
        yield Warning(
            f"DEBUG is on while ALLOWED_HOSTS holds {', '.join(public)}: strangers would see tracebacks.",
            hint="Unset DEBUG wherever others can reach the service.",
            id="odata.W001",
        )
    if not is_local(settings.ENV["HOST"]) and settings.ALLOWED_HOSTS and not public:
        yield Warning(
            f"HOST={settings.ENV['HOST']} listens to other machines, and ALLOWED_HOSTS answers to this one only.",
            hint="Add the name or address that they use to ALLOWED_HOSTS, or leave HOST unset.",
            id="odata.W002",
        )


def ports() -> Iterator[CheckMessage]:
    if settings.ENV["PORT"] == settings.LIVE_PORT:
        yield Error(
            f"PORT and LIVE_PORT are both {settings.LIVE_PORT}.",
            hint="The web and the live server need a port each.",
            id="odata.E003",
        )


def addresses_of_live() -> Iterator[CheckMessage]:
    url = settings.LIVE_URL
    if url and url != "same-origin" and not url.startswith(("ws://", "wss://")):
        yield Error(
            f"LIVE_URL={url} must start with ws:// or wss://, or be same-origin.",
            hint=HELP["LIVE_URL"],
            id="odata.E004",
        )
    if settings.HTTPS and url.startswith("ws://"):
        yield Error(
            "LIVE_URL starts with ws:// while HTTPS is on: browsers refuse such a socket on a secure page.",
            hint="Use wss://, or same-origin behind a proxy that joins the two servers.",
            id="odata.E005",
        )


def secure_origins() -> Iterator[CheckMessage]:
    plain = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if origin.startswith("http://")]
    if settings.HTTPS and plain:
        yield Warning(
            f"CSRF_TRUSTED_ORIGINS holds {', '.join(plain)} while HTTPS is on.",
            hint="Trust https:// origins only.",
            id="odata.W003",
        )


def webhooks() -> Iterator[CheckMessage]:
    for server in settings.WEBHOOK_DNS_SERVERS:
        if not is_name_server(server):
            yield Error(
                f"WEBHOOK_DNS_SERVERS holds {server}, which is no address of a name server.",
                hint="Give IP addresses, with a port or without: 10.0.0.2:5353, 2001:db8::2, [2001:db8::2]:5353.",
                id="odata.E020",
            )
    if settings.WEBHOOK_CA_FILE:
        try:
            ssl.create_default_context(cafile=settings.WEBHOOK_CA_FILE)
        except (OSError, ssl.SSLError) as error:
            yield Error(
                f"WEBHOOK_CA_FILE is {settings.WEBHOOK_CA_FILE}, which can't be used: {error.strerror or error}.",
                hint="Give the path of a file with certificates in PEM.",
                id="odata.E021",
            )


def is_name_server(text: str) -> bool:
    """An IP address, with a port or without."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:]+)(?::(\d{1,5}))?", text)
    host, port = (match[1] or match[3], match[2] or match[4]) if match else (text, None)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return port is None or 1 <= int(port) <= 65535


def is_local(host: str) -> bool:
    """Does this name or address mean the machine itself?"""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
