"""The messages of a task source: offers, and everything else."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.edge.resonate.messages import execute_json
from understudy.task_source.messages import NoTaskError, Offer, parse_offer


@given(st.text(min_size=1, max_size=512), st.integers(0, 2**31), st.text(max_size=200))
def test_what_a_connector_puts_is_an_offer(id: str, version: int, url: str) -> None:
    assert parse_offer(msgspec.json.encode(execute_json(id, version, url))) == Offer(id, version)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no message"),
        (b"null", "no message"),
        (b'{"kind": "execute", "data": {"task": {"id": "a", "version": "0"}}}', "no message"),
        (b'{"kind": "unblock", "data": {"promise": {}}}', "offers no task"),
        (b'{"kind": "notify", "data": {"task": {"id": "a", "version": 0}}}', "offers no task"),
        (b'{"kind": "execute", "data": {"task": {"id": "", "version": 0}}}', "names no task"),
        (b'{"kind": "execute", "data": {"task": {"id": "a", "version": -1}}}', "names no task"),
        (b"[" * 16_000, "no message"),
        (b" " * 16_385, "16,385 bytes"),
    ],
)
def test_what_is_no_offer(body: bytes, why: str) -> None:
    with pytest.raises(NoTaskError, match=why):
        parse_offer(body)


@given(st.binary())
def test_nothing_else_is_raised(body: bytes) -> None:
    with contextlib.suppress(NoTaskError):
        parse_offer(body)
