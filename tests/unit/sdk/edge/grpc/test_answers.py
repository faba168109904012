"""Answers of the gRPC service: what records are as messages."""

from __future__ import annotations

import json
from typing import Any

from understudy.edge.grpc.answers import PAGE_BYTES_MAX, STATES, call_of, page_of
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.calls import CODEC
from understudy_store.records import (
    CANCELED,
    EMPTY,
    PENDING,
    PROMISE_STATES,
    REJECTED,
    RESOLVED,
    PromiseRecord,
    TaskRecord,
    Value,
)


def record(
    id_: str = "p", state: Any = PENDING, value: Any = EMPTY, settled_at: int | None = None
) -> PromiseRecord:
    param = Value({"kind": "rpc", "fn": "price"}, CODEC.encode_call(("Emma",), {"copies": 2}))
    return PromiseRecord(id_, state, param, value, {"order": "7"}, 300, 100, settled_at)


def test_every_state_has_a_number() -> None:
    assert set(STATES) == set(PROMISE_STATES)
    assert set(STATES.values()) | {v1.STATE_UNSPECIFIED} == set(v1.State.values())


def test_a_pending_call() -> None:
    call = call_of(record())
    assert (call.id, call.state, call.function) == ("p", v1.STATE_PENDING, "price")
    assert json.loads(call.param.json) == [["Emma"], {"copies": 2}]
    assert dict(call.tags) == {"order": "7"}
    assert (call.created_at, call.timeout_at) == (100, 300)
    assert not any(call.HasField(name) for name in ("settled_at", "value", "error", "task"))


def test_a_call_with_its_task() -> None:
    task = TaskRecord(
        "p", "acquired", 3, "poll://any@shop", pid="ann#1", ttl=5, expires_at=9, failures=1
    )
    call = call_of(record(), task)
    assert (call.task.state, call.task.version, call.task.expires_at) == ("running", 3, 9)
    assert call.task.node == "ann"
    assert not call.task.HasField("retry_at")
    assert call.trouble == ""


def test_values_keep_large_integers() -> None:
    value = Value({}, CODEC.encode_value({"n": 2**53 + 1, "when": b"ab", "null": None}))
    call = call_of(record(state=RESOLVED, value=value, settled_at=200))
    assert json.loads(call.value.json) == {"n": 2**53 + 1, "when": "YWI=", "null": None}
    assert call.settled_at == 200
    assert not call.HasField("error")


def test_a_value_that_is_null() -> None:
    call = call_of(record(state=RESOLVED, settled_at=200))
    assert call.HasField("value")
    assert call.value.json == "null"


def test_failures() -> None:
    error = ValueError("no stock")
    error.add_note("a note")
    value = Value({}, CODEC.encode_error(error))
    call = call_of(record(state=REJECTED, value=value, settled_at=200))
    assert call.state == v1.STATE_REJECTED
    assert (call.error.type, call.error.message) == ("ValueError", "no stock")
    assert list(call.error.notes) == ["a note"]
    assert not call.HasField("value")
    canceled = call_of(record(state=CANCELED, settled_at=200))
    assert (canceled.error.type, canceled.error.message) == ("CanceledError", "it was canceled")


def test_pages_have_a_size() -> None:
    large = Value({}, CODEC.encode_value("x" * (PAGE_BYTES_MAX // 2)))
    records = [record(f"p{n}", RESOLVED, large, 200) for n in range(3)]
    page = page_of(records, "p9")
    assert [call.id for call in page.calls] == ["p0"]
    assert page.next_page_token == "p0"
    rest = page_of(records[2:], None)
    assert ([call.id for call in rest.calls], rest.next_page_token) == (["p2"], "")


def test_a_page_has_a_call_that_is_larger_than_a_page() -> None:
    huge = Value({}, CODEC.encode_value("x" * (PAGE_BYTES_MAX + 1)))
    page = page_of([record("p", RESOLVED, huge, 200), record("q")], None)
    assert [call.id for call in page.calls] == ["p"]
    assert page.next_page_token == "p"
