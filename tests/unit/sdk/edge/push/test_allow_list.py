"""The hosts that an edge pushes to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from understudy import ConfigurationError
from understudy.edge.push.allow_list import NotAllowedError, parse_allow_list

PUBLIC = "93.184.216.34"


def is_allowed(
    text: str, host: str, port: int, address: str = PUBLIC, scheme: str = "https"
) -> bool:
    allowed = parse_allow_list(text)
    try:
        allowed.check_host(scheme, host, port)
        allowed.check_address(scheme, host, port, ip_address(address))
    except NotAllowedError:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("pay.example", "pay.example", 443),
        ("Pay.Example", "PAY.example.", 443),
        ("pay.example:8443", "pay.example", 8443),
        ("x.example,pay.example", "pay.example", 443),
        (" x.example , pay.example:1 ,", "pay.example", 1),
        ("*.run.app", "a.run.app", 443),
        ("*.run.app", "a.b.run.app", 443),
        ("*", "pay.example", 443),
        (PUBLIC, PUBLIC, 443),
        ("[2606:4700::1111]:80", "2606:4700:0::1111", 80),
    ],
)
def test_allowed(pattern: str, host: str, port: int) -> None:
    assert is_allowed(pattern, host, port)


@pytest.mark.parametrize(
    ("pattern", "host", "port"),
    [
        ("", "pay.example", 443),
        ("pay.example", "pay.example", 8443),
        ("pay.example", "pay.example", 80),
        ("pay.example:8443", "pay.example", 443),
        ("pay.example", "evil-pay.example", 443),
        ("pay.example", "pay.example.evil", 443),
        ("pay.example", "a.pay.example", 443),
        ("*.run.app", "run.app", 443),
        ("*.run.app", "evilrun.app", 443),
        ("*.run.app", "a.run.app.evil", 443),
    ],
)
def test_not_allowed(pattern: str, host: str, port: int) -> None:
    assert not is_allowed(pattern, host, port)


def test_the_usual_port_is_that_of_the_scheme() -> None:
    assert is_allowed("pay.example", "pay.example", 80, scheme="http")
    assert not is_allowed("pay.example", "pay.example", 443, scheme="http")


@pytest.mark.parametrize(
    ("pattern", "host", "address", "allowed"),
    [
        ("pay.example", "pay.example", "10.0.0.5", False),
        ("pay.example", "pay.example", "127.0.0.1", False),
        ("pay.example", "pay.example", "::1", False),
        ("*", "localhost", "127.0.0.1", False),
        ("private:localhost", "localhost", "127.0.0.1", True),
        ("private:127.0.0.1", "127.0.0.1", "127.0.0.1", True),
        ("*,private:10.0.0.5", "10.0.0.5", "10.0.0.5", True),
        ("*,private:10.0.0.5", "10.0.0.6", "10.0.0.6", False),
        ("private:pay.internal", "pay.internal", "10.0.0.5", True),
        ("private:pay.internal", "pay.internal", PUBLIC, True),
        # a name of one's own network leads to private addresses, not to secrets of the machine
        ("private:pay.internal", "pay.internal", "169.254.169.254", False),
        ("private:pay.internal", "pay.internal", "::ffff:169.254.169.254", False),
        ("private:169.254.169.254", "169.254.169.254", "169.254.169.254", True),
        ("*", "169.254.169.254", "169.254.169.254", False),
        # an address written in another way is what it leads to
        ("*", "2130706433", "127.0.0.1", False),
        ("*", "0x7f.1", "127.0.0.1", False),
    ],
)
def test_private_addresses(pattern: str, host: str, address: str, allowed: bool) -> None:
    assert is_allowed(pattern, host, 443, address) == allowed


def test_a_refusal_says_how_to_allow_it() -> None:
    allowed = parse_allow_list("pay.example")
    with pytest.raises(NotAllowedError, match=r"not on the allow-list of this edge .--push"):
        allowed.check_host("https", "other.example", 443)
    with pytest.raises(NotAllowedError, match=r"allow it with --push private:pay.example:443$"):
        allowed.check_address("https", "pay.example", 443, ip_address("10.0.0.5"))
    with pytest.raises(NotAllowedError, match="nothing is ever pushed"):
        allowed.check_address("https", "pay.example", 443, ip_address("169.254.169.254"))


@pytest.mark.parametrize(("host", "address"), [("[::1]", "::1"), ("pay.internal", "10.0.0.5")])
def test_the_advice_of_a_refusal_allows_it(host: str, address: str) -> None:
    with pytest.raises(NotAllowedError) as refused:
        parse_allow_list("*").check_address("http", host, 8000, ip_address(address))
    advised = str(refused.value).rpartition("--push ")[2]
    assert advised == f"private:{host}:8000"
    assert is_allowed(advised, host, 8000, address, "http")


@pytest.mark.parametrize(
    "pattern",
    [
        "127.0.0.1:8000",
        "10.0.0.5",
        "[::1]:8000",
        "[fd00::1]",
        "[fec0::1]",
        "[::ffff:127.0.0.1]:80",
        "169.254.169.254",
        "localhost:8000",
        "LOCALHOST",
        "*.localhost",
    ],
)
def test_an_address_that_is_not_public_is_refused_with_what_to_write(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="no public address") as refused:
        parse_allow_list(f"pay.example,{pattern}")
    advised = str(refused.value).rpartition("write ")[2]
    assert advised == f"private:{pattern.lower()}".replace("*", "NAME")
    assert parse_allow_list(advised)


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("https://pay.example", "is no host"),
        ("pay.example/path", "is no host"),
        ("me@pay.example", "is no host"),
        ("pay example", "is no host"),
        ("a*.example", "is no host"),
        ("*.*.example", "is no host"),
        ("pay.example:http", "is no host"),
        ("pay.example:0", "is no port"),
        ("pay.example:70000", "is no port"),
        ("[::1", "is no host"),
        ("[x]:80", "no IPv6 address"),
        ("private:*", "name it without"),
        ("private:*.internal", "name it without"),
        ("private:", "is no host"),
    ],
)
def test_what_is_no_pattern(pattern: str, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        parse_allow_list(f"pay.example,{pattern}")
