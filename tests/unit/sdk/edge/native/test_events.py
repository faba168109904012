"""Server-sent events: their text, and what a client that comes back knows."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.edge.native import events
from understudy_store.records import EMPTY, PromiseRecord


def record(created_at: int, settled_at: int | None = None) -> PromiseRecord:
    """Return a promise with these times."""
    state: Any = "pending" if settled_at is None else "resolved"
    return PromiseRecord("p", state, EMPTY, EMPTY, {}, 10**13, created_at, settled_at)


def test_the_text_of_an_event() -> None:
    assert events.event("promise", {"a": "x\ny"}, 7) == (
        b'id: 7\nevent: promise\ndata: {"a":"x\\ny"}\n\n'
    )
    assert events.event("end", None) == b"event: end\ndata: null\n\n"
    assert events.opening() == b"retry: 1000\n\n"


@pytest.mark.parametrize(
    ("header", "id_"),
    [(b"17", 17), (None, None), (b"", None), (b"-1", None), (b"x", None), (b"9" * 16, None)],
)
def test_the_id_of_the_last_event(header: bytes | None, id_: int | None) -> None:
    assert events.last_event_id(header) == id_


def test_what_a_client_knows_that_comes_back() -> None:
    late = 1_000_000
    assert not events.is_known(late, None)
    assert events.is_known(late, late + events.OVERLAP_MS)
    # A change of that moment may have come after the event of that id.
    assert not events.is_known(late, late)
    assert not events.is_known(late, late + events.OVERLAP_MS - 1)
    assert (events.changed_at(record(1)), events.changed_at(record(1, late))) == (1, late)
