"""Addresses: what is one, its one spelling, and what a task is searched under."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_store.addresses import (
    RELAYED_CHARS_MAX,
    RELAYED_SCHEMES,
    InvalidAddressError,
    canonical,
    group_of,
    parse_target,
    scheme_of,
)


@pytest.mark.parametrize(
    ("text", "stored", "group"),
    [
        ("g", "poll://any@g", "g"),
        ("poll://g/n", "poll://any@g/n", "g"),
        ("poll://uni@g/n", "poll://uni@g/n", "g"),
        ("http://x", "http://x", "http://x"),
        ("HTTPS://Pay.Example:8443/Hook?A=b", *2 * ["https://pay.example:8443/Hook?A=b"]),
        ("http://[::1]:8001/", "http://[::1]:8001/", "http://[::1]:8001/"),
        ("http://x/~me@home", "http://x/~me@home", "http://x/~me@home"),
        ("amqp://mq_1/orders", "amqp://mq_1/orders", "amqp://mq_1/orders"),
        ("http://x/" + "a" * 503, *2 * ["http://x/" + "a" * 503]),
    ],
)
def test_one_spelling(text: str, stored: str, group: str) -> None:
    assert canonical(text) == stored
    assert canonical(stored) == stored
    assert group_of(stored) == group


@pytest.mark.parametrize("scheme", RELAYED_SCHEMES)
def test_all_schemes(scheme: str) -> None:
    assert scheme_of(canonical(f"{scheme}://host.example/path")) == scheme


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("http://", "has no host"),
        ("https:///path", "has no host"),
        ("http://:80/", "has no host"),
        ("http://x:99999/", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://-x/", "is not a host"),
        ("http://a%20b/", "is not a host"),
        ("http://a b/", "white space"),
        ("http://x/a\nb", "white space"),
        ("http://x/ä", "not ASCII"),
        ("http://x\\@y/", "user name"),
        ("http://x\\y/", "backslash"),
        ("http://x/" + "a" * 504, "513 characters"),
        ("ftp://x", "unknown scheme"),
        ("slot://1", "unknown scheme"),
    ],
)
def test_what_is_no_address(text: str, error: str) -> None:
    with pytest.raises(InvalidAddressError, match=error):
        canonical(text)
    with pytest.raises(InvalidAddressError):
        parse_target(text)


@pytest.mark.parametrize("secret", ["me:hunter2@", "hunter2@", ":hunter2@"])
def test_a_password_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(InvalidAddressError, match="user name or a password") as caught:
        canonical(f"https://{secret}x.example/")
    assert "hunter2" not in str(caught.value)


@given(st.sampled_from([*RELAYED_SCHEMES, "poll", "HTTP", "x"]), st.text(max_size=30))
def test_any_text_is_an_address_in_one_spelling_or_none(scheme: str, rest: str) -> None:
    for text in (rest, f"{scheme}://{rest}"):
        try:
            stored = canonical(text)
        except InvalidAddressError:
            continue
        assert canonical(stored) == stored
        assert group_of(stored)
        assert len(stored) <= RELAYED_CHARS_MAX
        assert stored.isprintable()
        assert " " not in stored
