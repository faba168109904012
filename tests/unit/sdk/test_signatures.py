"""Signatures of pushes: who made it, that it is as it was made, and that it is not old."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy import ConfigurationError
from understudy.signatures import (
    ID,
    SIGNATURE,
    TIMESTAMP,
    TOLERANCE_S,
    SignatureError,
    parse_keys,
    sign,
    verify,
)

KEYS = parse_keys("whsec_" + base64.b64encode(b"k" * 32).decode(), "a test")
OTHERS = parse_keys(base64.b64encode(b"o" * 24).decode(), "a test")
NOW = 1_700_000_000


def test_what_the_reference_implementation_signs() -> None:
    keys = parse_keys("whsec_" + base64.b64encode(b"x" * 32).decode(), "a test")
    headers = sign(keys, "msg_1", 1796064194, b'{"a":1}')
    assert headers[SIGNATURE] == "v1,8qOGZNLN5KYEHkPt7U6Ud6wNmyhIPAHuqdJXcr2X+O4="


@given(st.binary(max_size=50), st.integers(-TOLERANCE_S, TOLERANCE_S))
def test_what_was_signed_is_taken(body: bytes, apart_s: int) -> None:
    verify(KEYS, sign(KEYS, "msg_1", NOW, body), body, NOW + apart_s)


def test_keys_are_replaced_one_after_the_other() -> None:
    headers = sign([*KEYS, *OTHERS], "msg_1", NOW, b"x")
    for keys in (KEYS, OTHERS, (*OTHERS, *KEYS)):
        verify(keys, headers, b"x", NOW)
    verify([*OTHERS, *KEYS], sign(KEYS, "msg_1", NOW, b"x"), b"x", NOW)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({ID: ""}, "webhook-id is missing"),
        ({TIMESTAMP: ""}, "webhook-timestamp is missing"),
        ({SIGNATURE: ""}, "webhook-signature is missing"),
        ({ID: "msg_2"}, "not signed"),
        ({TIMESTAMP: str(NOW + 1)}, "not signed"),
        ({TIMESTAMP: "x"}, "no|not a time"),
        ({TIMESTAMP: "-1"}, "not a time"),
        ({TIMESTAMP: "9" * 13}, "not a time"),
        ({TIMESTAMP: str(NOW - TOLERANCE_S - 1)}, "301 s from this machine's clock"),
        ({TIMESTAMP: str(NOW + TOLERANCE_S + 1)}, "301 s from this machine's clock"),
        ({SIGNATURE: "v1,"}, "not signed"),
        ({SIGNATURE: "v1"}, "not signed"),
        ({SIGNATURE: "v1,ä"}, "not signed"),
        ({SIGNATURE: "v1,AAAA " * 1_000}, "not signed"),
    ],
)
def test_what_was_changed_is_refused(changed: dict[str, str], error: str) -> None:
    headers = sign(KEYS, "msg_1", NOW, b"x") | changed
    with pytest.raises(SignatureError, match=error):
        verify(KEYS, headers, b"x", NOW)


def test_another_body_key_or_version_of_signatures() -> None:
    headers = sign(KEYS, "msg_1", NOW, b"x")
    for keys, body in ((KEYS, b"y"), (OTHERS, b"x"), ((), b"x")):
        with pytest.raises(SignatureError, match="not signed"):
            verify(keys, headers, body, NOW)
    headers[SIGNATURE] = headers[SIGNATURE].replace("v1,", "v2,")
    with pytest.raises(SignatureError, match="not signed"):
        verify(KEYS, headers, b"x", NOW)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no key"),
        (" \n ", "no key"),
        ("whsec_secret!", "not base64"),
        ("c2VjcmV0", "has 6 bytes"),
        (base64.b64encode(b"s" * 65).decode(), "has 65 bytes"),
        (base64.b64encode(b"s" * 32).decode() + "\nc2VjcmV0", "has 6 bytes"),
    ],
)
def test_what_is_no_key(text: str, error: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{error}.*openssl rand") as caught:
        parse_keys(text, "a test")
    assert not text.strip() or text.strip() not in str(caught.value)
