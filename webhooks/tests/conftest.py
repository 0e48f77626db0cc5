from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from webhooks.tests.name_server import NameServer, name_server


@pytest.fixture
def names(settings: Settings) -> Iterator[NameServer]:
    """The name server that names are asked of, when saving and when sending."""
    with name_server() as server:
        settings.WEBHOOK_DNS_SERVERS = [server.address]
        yield server
