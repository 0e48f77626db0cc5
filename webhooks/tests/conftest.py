"""Receivers of the tests are on this machine, at any port, and names are asked of a name server of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from webhooks.tests.name_server import NameServer, name_server


@pytest.fixture(autouse=True)
def hurried_dispatchers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dispatcher waits a shorter time for more work before it ends: there are a hundred of them in these tests."""
    if "patient_dispatchers" not in request.fixturenames:
        monkeypatch.setattr("webhooks.dispatcher.LINGER_SECONDS", 0.35)


@pytest.fixture
def patient_dispatchers() -> None:
    """They wait as long as they really do."""


@pytest.fixture
def local_receivers(settings: Settings) -> None:
    """What is refused elsewhere is allowed."""
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8"]
    settings.WEBHOOK_ALLOWED_PORTS = range(1, 65536)


@pytest.fixture(scope="module")
def listening_names() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def names(settings: Settings, listening_names: NameServer) -> NameServer:
    """The name server that names are asked of, when saving and when sending. It knows none at first."""
    listening_names.forget()
    settings.WEBHOOK_DNS_SERVERS = [listening_names.address]
    return listening_names
