"""Where a request comes from."""

from __future__ import annotations

import pytest
from django.test import RequestFactory
from pytest_django import Settings

from common.client_ip import client_ip, neighbourhood


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("198.51.100.7:50123", "198.51.100.7"),
        ("[2001:db8::7]:50123", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("nobody:80", None),
        ("", None),
        ("nobody", None),
    ],
)
def test_an_address_has_one_spelling(peer: str, address: str | None, settings: Settings) -> None:
    assert client_ip(RequestFactory().get("/", REMOTE_ADDR=peer)) == address

    settings.PROXY_COUNT = 1
    assert client_ip(RequestFactory().get("/", headers={"X-Forwarded-For": f"10.0.0.1, {peer or 'x'}"})) == address


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("nobody", None),
    ],
)
def test_of_ipv6_a_whole_network_counts_as_one(peer: str, place: str | None) -> None:
    assert neighbourhood(RequestFactory().get("/", REMOTE_ADDR=peer)) == place
