"""Keys as text."""

from __future__ import annotations

import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from understudy_broker.keys.public_keys import is_key, text_of


@given(st.binary(min_size=32, max_size=32))
def test_the_text_is_that_of_zeromq(raw: bytes) -> None:
    assert text_of(raw) == z85.encode(raw).decode()
    assert is_key(text_of(raw))


def test_what_is_no_key() -> None:
    key = zmq.curve_keypair()[0].decode()
    assert is_key(key)
    for text in ("", key[:-1], key + "0", key[:-1] + "_", key[:-1] + "é", "node.key"):
        assert not is_key(text)
    assert not is_key("#" * 40), "each five digits stand for less than 2^32"
