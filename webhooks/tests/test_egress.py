"""Where webhooks may be saved to go, and what they may carry."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pytest_django import Settings

from webhooks.egress import Policy, RefusedHeadersError, RefusedUrlError, check_headers, check_url
from webhooks.tests.corpus import ADDRESSES, LOOPBACK, MAPPED, METADATA, PUBLIC, TRICKS, URLS
from webhooks.tests.name_server import AAAA, A, NameServer
from webhooks.tests.watching import sockets_seen

STRICT = Policy()


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(set(ADDRESSES) | set(MAPPED) | set(LOOPBACK) | set(METADATA) | set(TRICKS)) >= 150


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [*ADDRESSES, *MAPPED])
def test_an_address_that_is_not_public_is_refused_with_its_range(address: str) -> None:
    refusal = STRICT.refusal(ip_address(address))

    assert refusal is not None
    network, _, reason = refusal.partition(", ")
    assert ipaddress.ip_network(network)
    assert reason


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert STRICT.refusal(ip_address(address)) is None


@given(st.integers(0, 2**32 - 1))
@example(0)
def test_no_ipv4_address_is_public_to_us_that_python_calls_special(number: int) -> None:
    address = IPv4Address(number)

    if STRICT.refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
    elif address.is_global and not address.is_multicast:
        # what we refuse beyond Python: the relays of 6to4, Azure's service, two anycast addresses for protocols
        assert str(address).startswith(("192.88.99.", "192.0.0.")) or str(address) == "168.63.129.16"


def by_bits(number: int) -> bool:
    """May this IPv6 address be reached? Told by its bits alone, with no list of networks."""
    groups = [number >> shift & 0xFFFF for shift in range(112, -16, -16)]
    if groups[0] >> 13 != 1:  # not 2000::/3
        return False
    if groups[0] == 0x2001 and (groups[1] < 0x200 or groups[1] == 0xDB8):
        return False
    if groups[0] == 0x2002 or (groups[0] == 0x3FFF and groups[1] < 0x1000):
        return False
    if groups[4] & 0xFCFF == 0 and groups[5] == 0x5EFE:
        return STRICT.refusal(IPv4Address(number & 0xFFFFFFFF)) is None
    return True


STARTS = [
    0x2001 << 112,
    0x20010DB8 << 96,
    0x2002 << 112,
    0x3FFF << 112,
    0x2600 << 112,
    0,
    0xFC00 << 112,
    0x64FF9B << 96,
]


@given(
    st.one_of(
        st.integers(0, 2**128 - 1), st.builds(lambda a, b: a | b, st.sampled_from(STARTS), st.integers(0, 2**112 - 1))
    )
)
def test_the_judge_of_ipv6_agrees_with_one_that_looks_at_bits(number: int) -> None:
    if number >> 32 != 0xFFFF:  # mapped addresses are IPv4's
        assert (STRICT.refusal(IPv6Address(number)) is None) is by_bits(number)


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_address_is_judged_as_the_one_it_stands_for(number: int) -> None:
    assert STRICT.refusal(IPv6Address(0xFFFF << 32 | number)) == STRICT.refusal(IPv4Address(number))


def test_a_zone_does_not_change_an_address() -> None:
    assert STRICT.refusal(ip_address("fe80::1%eth0")) == "fe80::/10, the local link"


def allowing(*networks: str) -> Policy:
    return Policy(tuple(ipaddress.ip_network(network) for network in networks))


def test_an_operator_may_allow_a_range_and_nothing_beside_it() -> None:
    policy = allowing("10.1.0.0/16", "::1/128")

    assert policy.refusal(ip_address("10.1.2.3")) is None
    assert policy.refusal(ip_address("::ffff:10.1.2.3")) is None
    assert policy.refusal(ip_address("::1")) is None
    assert policy.refusal(ip_address("10.2.0.0")) is not None


def test_an_allowed_translator_does_not_allow_what_it_leads_to() -> None:
    policy = allowing("64:ff9b::/96", "2002::/16")

    assert policy.refusal(ip_address("64:ff9b::8.8.8.8")) is None
    assert policy.refusal(ip_address("64:ff9b::169.254.169.254")) is not None
    assert policy.refusal(ip_address("2002:7f00:1::")) is not None


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
def test_a_dangerous_url_is_refused_when_saved_and_nothing_is_sent(url: str, names: NameServer) -> None:
    with sockets_seen() as seen, pytest.raises(RefusedUrlError) as refused:
        check_url(url)

    assert refused.value.detail.endswith(".")
    assert refused.value.code.startswith("webhook_url_")
    assert seen == []
    assert not names.asked


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.com/", "webhook_url_scheme"),
        ("https://me:secret@example.com/", "webhook_url_userinfo"),
        ("https://example.com:22/", "webhook_url_port"),
        ("https://exa mple.com/", "webhook_url_characters"),
        ("https://example.com/#x", "webhook_url_fragment"),
        ("https://127.1/", "webhook_url_host"),
        ("https://127.0.0.1/", "webhook_url_address"),
        ("example.com", "webhook_url_malformed"),
        ("https://example.com/" + "x" * 2048, "webhook_url_length"),
    ],
)
def test_each_refusal_has_its_code_and_repeats_no_password(url: str, code: str) -> None:
    with pytest.raises(RefusedUrlError) as refused:
        check_url(url)

    assert refused.value.code == code
    assert "secret" not in refused.value.detail


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.test/",
        "https://hooks.test",
        "HTTPS://Hooks.TEST:8443/a/b?c=d&e=%2F",
        "http://hooks.test:8080/~x/(y)/z;p=1",
        "http://hooks.test./",
        "http://93.184.216.34/",
        "https://[2606:4700::1111]:8443/",
        "https://xn--mnchen-3ya.test/",
        "https://under_score.test/",
    ],
)
def test_an_ordinary_url_is_accepted(url: str, names: NameServer) -> None:
    for host in ("hooks.test", "xn--mnchen-3ya.test", "under_score.test"):
        names.answers[host] = [["93.184.216.34", "2606:4700::1111"]]

    check_url(url)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "10.0.0.1"],
        ["10.0.0.1", "93.184.216.34"],
        ["93.184.216.34", "fd00::1"],
        ["2606:4700::1111", "169.254.169.254"],
        ["93.184.216.34", "::ffff:127.0.0.1"],
        ["93.184.216.34", "64:ff9b::7f00:1"],
        ["::1"],
    ],
)
def test_a_name_is_refused_if_any_of_its_addresses_is(addresses: list[str], names: NameServer) -> None:
    names.answers["mixed.test"] = [addresses]

    with pytest.raises(RefusedUrlError) as refused:
        check_url("https://mixed.test/")

    assert refused.value.code == "webhook_url_address"
    assert names.asked["mixed.test", A] == 1
    assert names.asked["mixed.test", AAAA] == 1
    assert "10.0.0.1" not in refused.value.detail  # the range is told, not what an inner name leads to
    assert "fd00::1" not in refused.value.detail


def test_a_name_that_is_not_found_is_accepted_for_nothing_can_be_sent_to_it(names: NameServer) -> None:
    check_url("https://not-there.test/")

    assert names.asked["not-there.test", A] == 1


async def test_it_may_be_asked_while_an_event_loop_runs(names: NameServer) -> None:
    names.answers["inner.test"] = [["10.0.0.1"]]

    with pytest.raises(RefusedUrlError):
        check_url("https://inner.test/")


def test_loopback_is_accepted_when_an_operator_says_so_and_not_by_debug(settings: Settings) -> None:
    settings.DEBUG = True
    with pytest.raises(RefusedUrlError):
        check_url("http://localhost:8080/")

    settings.WEBHOOK_ALLOWED_CIDRS = ["127.0.0.0/8", "::1/128"]

    check_url("http://localhost:8080/")
    check_url("http://127.0.0.1:8080/")
    check_url("http://[::1]:8080/")


def test_a_port_is_accepted_when_an_operator_says_so(settings: Settings) -> None:
    settings.WEBHOOK_ALLOWED_PORTS = [3000]

    check_url("http://93.184.216.34:3000/")
    with pytest.raises(RefusedUrlError, match="use one of 3000"):
        check_url("http://93.184.216.34/")


# --- headers -----------------------------------------------------------------------------------


def test_ordinary_headers_are_accepted() -> None:
    check_headers({"Authorization": "Bearer abc.def", "X-Api-Key": "k", "X-Tenant": "north, south"})


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Webhook-Id",
        "webhook-signature",
        "Content-Type",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
        "Cookie",
        "Upgrade",
        "Expect",
        "TE",
    ],
)
def test_a_reserved_header_is_refused(name: str) -> None:
    with pytest.raises(RefusedHeadersError) as refused:
        check_headers({name: "x"})

    assert [(error.pointer, error.code) for error in refused.value.errors] == [
        (f"/headers/{name}", "webhook_header_reserved")
    ]


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nHost", "X\n", "Ünicode", "X\x00", "X" * 101])
def test_what_is_no_name_of_a_header_is_refused(name: str) -> None:
    with pytest.raises(RefusedHeadersError) as refused:
        check_headers({name: "x"})

    assert refused.value.code == "webhook_header_name"


@pytest.mark.parametrize(
    "value", ["", " ", "a\r\nHost: b", "a\nb", "a\rb", "a\n", "a\x00b", " a", "a ", "ü", "a\x7f", "x" * 2049]
)
def test_a_value_that_could_write_headers_of_its_own_is_refused(value: str) -> None:
    with pytest.raises(RefusedHeadersError) as refused:
        check_headers({"X-Key": value})

    assert refused.value.code == "webhook_header_value"


def test_a_header_that_is_there_twice_or_one_of_too_many_is_refused() -> None:
    with pytest.raises(RefusedHeadersError, match="twice"):
        check_headers({"X-Key": "a", "x-key": "b"})
    with pytest.raises(RefusedHeadersError, match="20 is the most"):
        check_headers({f"X-{number}": "a" for number in range(21)})
