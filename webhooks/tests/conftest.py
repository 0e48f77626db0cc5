"""Receivers of the tests are on this machine, at any port: what is refused elsewhere is allowed here."""

from __future__ import annotations

import pytest
from pytest_django import Settings


@pytest.fixture
def local_receivers(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8"]
    settings.WEBHOOK_ALLOWED_PORTS = range(1, 65536)
