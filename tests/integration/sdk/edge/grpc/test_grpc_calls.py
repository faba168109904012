"""Calls over gRPC: started, waited for, read, settled, canceled and listed; and what is wrong."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.grpc.rig import Grpc, exists, raw, refusal
from understudy.edge.grpc.v1 import understudy_pb2 as v1


def test_a_call_that_is_waited_for(rig: Grpc) -> None:
    call = rig.start("add", '{"a": 1, "b": 5}', id="sum-1")
    assert (call.id, call.state, call.function) == ("sum-1", v1.STATE_RESOLVED, "add")
    assert call.value.json == "6"
    assert json.loads(call.param.json) == [[], {"a": 1, "b": 5}]
    assert rig.get("sum-1") == rig.wait("sum-1") == call
    assert rig.system.runtime.get("sum-1").result(timeout=10) == 6


def test_a_call_that_is_not_waited_for(rig: Grpc) -> None:
    call = rig.start("approve", wait=0, tags={"order": "7"}, priority=3, timeout=3600)
    assert call.state == v1.STATE_PENDING
    assert len(call.id) == 32
    assert call.tags["order"] == "7"
    assert abs(call.timeout_at - call.created_at - 3_600_000) < 1000
    shown = rig.get(call.id)
    assert shown.task.target == "poll://any@shop"
    rig.resolve(f"{call.id}.answer", '"yes"')
    assert json.loads(rig.wait(call.id).value.json) == {"answer": "yes"}


def test_the_same_id_is_the_same_call(rig: Grpc) -> None:
    first = rig.start("add", "[1]", id="again")
    assert rig.start("add", "[1]", id="again") == first
    code, text = refusal(lambda: rig.start("add", "[2]", id="again"))
    assert code == "ALREADY_EXISTS"
    assert text.startswith("again already exists, with the arguments [[1], {}]. Those are kept.")
    code, text = refusal(lambda: rig.start("echo", "[1]", id="again"))
    assert code == "ALREADY_EXISTS"
    assert text.startswith("the id 'again' belongs to a call of 'add', so 'echo' cannot be called")


def test_values_of_all_kinds(rig: Grpc) -> None:
    value = {"n": 2**53 + 1, "big": 10**40, "text": "ü\u0000\u2028", "f": 1.5, "null": None}
    assert json.loads(rig.start("echo", json.dumps([value])).value.json) == value
    assert json.loads(rig.start("raw").value.json) == {
        "bytes": "YWI=",
        "set": [1, 2],
        "big": 10**30,
        "when": "2026-01-02T00:00:00",
        "3": "three",
    }


def test_a_large_value(rig: Grpc) -> None:
    text = "x" * 3_000_000
    assert json.loads(rig.start("echo", json.dumps([text])).value.json) == text


def test_a_call_that_fails_is_no_failure_of_the_rpc(rig: Grpc) -> None:
    call = rig.start("fail", '["no stock"]')
    assert call.state == v1.STATE_REJECTED
    assert (call.error.type, call.error.message) == ("ValueError", "no stock")
    assert "ValueError" in call.error.traceback
    assert not call.HasField("value")


def test_a_call_whose_own_deadline_passes(rig: Grpc) -> None:
    call = rig.start("approve", timeout=0.05)
    assert call.state == v1.STATE_TIMEDOUT
    assert call.error.type == "DeadlineExceededError"


@pytest.mark.parametrize(
    ("function", "arguments", "code", "text"),
    [
        ("aprove", "", "NOT_FOUND", "no node of group shop has the function aprove; similar: a"),
        ("add", "{", "INVALID_ARGUMENT", "json is no JSON: "),
        ("add", "7", "INVALID_ARGUMENT", "json has the arguments of the call: "),
        ("echo", '["' + "x" * 5_000_000 + '"]', "INVALID_ARGUMENT", "the arguments: 5,000,"),
        ("echo", '["' + "x" * 7_000_000 + '"]', "RESOURCE_EXHAUSTED", "SERVER: Received message"),
        ("echo", "[" * 10_000, "INVALID_ARGUMENT", "json "),
        ("", "", "INVALID_ARGUMENT", "the function is missing"),
    ],
)
def test_requests_that_are_wrong(
    rig: Grpc, function: str, arguments: str, code: str, text: str
) -> None:
    found, said = refusal(lambda: rig.start(function, arguments))
    assert (found, said.startswith(text)) == (code, True), said


def test_arguments_that_do_not_suit_the_function(rig: Grpc) -> None:
    assert refusal(lambda: rig.start("add", '{"c": 1}')) == (
        "INVALID_ARGUMENT",
        "/c: the function has no argument 'c'; its arguments: a, b",
    )
    code, text = refusal(lambda: rig.start("add", '["one"]'))
    assert (code, text.startswith("/a: ")) == ("INVALID_ARGUMENT", True)


def test_arguments_become_what_is_meant(rig: Grpc) -> None:
    call = rig.start("later", '["2026-01-02T03:04:05"]')
    assert call.value.json == '"2027-01-02T03:04:05"'


def test_a_function_that_may_come_later(rig: Grpc) -> None:
    call = rig.start("aprove", wait=0, unknown=v1.UNKNOWN_WAIT)
    assert call.state == v1.STATE_PENDING
    lacks = "no node of group shop has the function aprove"
    until("it says why it waits", lambda: lacks in rig.get(call.id).trouble)
    request = v1.StartRequest(group="nobody", function="anything")
    assert rig.stub.Start(request, timeout=10).state == v1.STATE_PENDING


def test_a_request_that_is_garbage(rig: Grpc) -> None:
    start = raw(rig.channel, "Start")
    assert refusal(lambda: start(b"\xff\xff\xff", timeout=10)) == (
        "INVALID_ARGUMENT",
        "the message is no understudy.v1.StartRequest",
    )
    stop = raw(rig.channel, "Stop")
    assert refusal(lambda: stop(b"", timeout=10))[0] == "UNIMPLEMENTED"
    assert rig.start("add", "[1]").value.json == "3"


def test_what_does_not_exist(rig: Grpc) -> None:
    absent = ("NOT_FOUND", "promise 'absent' does not exist")
    assert refusal(lambda: rig.get("absent")) == absent
    assert refusal(lambda: rig.wait("absent")) == absent
    cancel = v1.CancelRequest(id="absent")
    assert refusal(lambda: rig.stub.Cancel(cancel, timeout=10)) == absent
    settle = v1.SettleRequest(id="absent", json="1")
    assert refusal(lambda: rig.stub.Settle(settle, timeout=10)) == absent
    watch = v1.WatchRequest(id="absent")
    assert refusal(lambda: list(rig.stub.Watch(watch, timeout=10))) == absent


def test_a_promise_is_settled_once(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    answer = f"{call.id}.answer"
    assert rig.resolve(answer, "7").value.json == "7"
    assert rig.resolve(answer, "7").value.json == "7"
    assert refusal(lambda: rig.resolve(answer, "8")) == (
        "FAILED_PRECONDITION",
        f"{answer} was already resolved with another value, and does not change",
    )
    reject = v1.SettleRequest(id=answer, error="too expensive")
    assert refusal(lambda: rig.stub.Settle(reject, timeout=10))[0] == "FAILED_PRECONDITION"


def test_a_promise_is_rejected(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    answer = f"{call.id}.answer"
    until("it asks", lambda: exists(rig, answer))
    request = v1.SettleRequest(id=answer, error="too expensive")
    assert rig.stub.Settle(request, timeout=10).error.message == "too expensive"
    assert rig.wait(call.id).error.message == "too expensive"


def test_a_call_is_canceled(rig: Grpc) -> None:
    call = rig.start("approve", wait=0)
    request = v1.CancelRequest(id=call.id)
    canceled = rig.stub.Cancel(request, timeout=10)
    assert (canceled.state, canceled.error.type) == (v1.STATE_CANCELED, "CanceledError")
    assert rig.stub.Cancel(request, timeout=10) == canceled
    done = rig.start("add", "[1]")
    code, text = refusal(lambda: rig.stub.Cancel(v1.CancelRequest(id=done.id), timeout=10))
    assert code == "FAILED_PRECONDITION"
    assert text == f"{done.id} was already resolved, and does not change"


def test_lists_in_pages(rig: Grpc) -> None:
    for number in range(5):
        rig.start("add", "[1]", id=f"list-{number}")
    rig.start("echo", "[1]", id="list-echo")
    found = []
    token = ""
    while True:
        request = v1.ListRequest(
            prefix="list-", group="shop", function="add", page_size=2, page_token=token
        )
        page = rig.stub.List(request, timeout=10)
        found += [call.id for call in page.calls]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"list-{number}" for number in range(5)]
    pending = v1.ListRequest(prefix="list-", state=v1.STATE_PENDING)
    assert not rig.stub.List(pending, timeout=10).calls


def test_pages_of_large_calls_are_short(rig: Grpc) -> None:
    text = json.dumps(["x" * 900_000])  # as its argument, and as its value
    for number in range(3):
        rig.start("echo", text, id=f"large-{number}")
    found = []
    token = ""
    while True:
        page = rig.stub.List(v1.ListRequest(prefix="large-", page_token=token), timeout=10)
        found.append([call.id for call in page.calls])
        token = page.next_page_token
        if not token:
            break
    assert found == [["large-0"], ["large-1"], ["large-2"]]


def test_lists_of_promises(rig: Grpc) -> None:
    call = rig.start("approve", wait=0, id="with-promise")
    rig.resolve("with-promise.answer", "1")
    assert rig.wait(call.id).state == v1.STATE_RESOLVED
    calls = rig.stub.List(v1.ListRequest(prefix="with-promise"), timeout=10)
    assert [each.id for each in calls.calls] == ["with-promise"]
    all_ = rig.stub.List(v1.ListRequest(prefix="with-promise", promises=True), timeout=10)
    assert [each.id for each in all_.calls] == ["with-promise", "with-promise.answer"]
    origin = rig.stub.List(v1.ListRequest(origin="with-promise", promises=True), timeout=10)
    assert len(origin.calls) == 2
