"""Receivers of the tests are on this machine, at any port, and names are asked of a name server of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from webhooks.tests.name_server import NameServer, name_server


@pytest.fixture
def local_receivers(settings: Settings) -> None:
    """What is refused elsewhere is allowed."""
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8"]
    settings.WEBHOOK_ALLOWED_PORTS = range(1, 65536)


@pytest.fixture
def names(settings: Settings) -> Iterator[NameServer]:
    """The name server that names are asked of, when saving and when sending."""
    with name_server() as server:
        settings.WEBHOOK_DNS_SERVERS = [server.address]
        yield server
