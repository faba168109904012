"""Requests of the gRPC service: their commands, and the refusals of those that are wrong."""

from __future__ import annotations

import pytest

from understudy.edge.grpc import requests
from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.problems import Problem
from understudy.views.json_data import decoded
from understudy_store.commands import PromiseCreate
from understudy_store.records import REJECTED, RESOLVED, TAG_DELAY, TAG_PRIORITY, TAG_TARGET

NOW = 1_000_000


def problem(request: v1.StartRequest | v1.SettleRequest | v1.ListRequest) -> tuple[int, str]:
    """Return the status and the text with which a request is refused."""
    with pytest.raises(Problem) as caught:
        read(request)
    return caught.value.status, caught.value.detail


def read(request: v1.StartRequest | v1.SettleRequest | v1.ListRequest) -> None:
    """Read everything in a request."""
    if isinstance(request, v1.StartRequest):
        requests.awaits_function(request)
        requests.wait_s(request)
        create_of(request)
    elif isinstance(request, v1.SettleRequest):
        requests.settle(request)
    else:
        requests.search(request)


def create_of(request: v1.StartRequest) -> PromiseCreate:
    """Return the command that begins a call."""
    return requests.create(requests.call_spec(request, "new"), requests.arguments(request), NOW)


def start(**fields: object) -> v1.StartRequest:
    request = v1.StartRequest(group="shop", function="price")
    request.MergeFrom(v1.StartRequest(**fields))  # type: ignore[arg-type]
    return request


def test_a_call_with_everything() -> None:
    request = start(
        id="price-1",
        json='{"book": "Emma", "copies": 12345678901234567890123}',
        timeout=90.5,
        delay=2,
        version=3,
        priority=-7,
        tags={"order": "7"},
    )
    create = create_of(request)
    assert create.id == "price-1"
    assert create.timeout_at == NOW + 90_500
    assert create.tags == {
        TAG_TARGET: "poll://any@shop",
        TAG_PRIORITY: "-7",
        TAG_DELAY: str(NOW + 2000),
        "order": "7",
    }
    assert create.param.headers == {"kind": "rpc", "fn": "price", "v": "3"}
    assert decoded(create.param.data) == [[], {"book": "Emma", "copies": 12345678901234567890123}]


def test_a_call_with_nothing() -> None:
    create = create_of(start())
    assert create.id == "new"
    assert create.timeout_at == NOW + 30 * 24 * 3_600_000
    assert create.tags == {TAG_TARGET: "poll://any@shop"}
    assert decoded(create.param.data) == [[], {}]
    assert not requests.awaits_function(start())
    assert requests.awaits_function(start(unknown=v1.UNKNOWN_WAIT))
    by_position = create_of(start(json="[1, [2]]"))
    assert decoded(by_position.param.data) == [[1, [2]], {}]


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"json": "{"}, 400, "json is no JSON: "),
        ({"json": "7"}, 422, "json has the arguments of the call: an object gives them by name"),
        ({"json": "[" * 70 + "]" * 70}, 400, "json is nested deeper than 64 levels"),
        ({"json": '["' + "x" * 5_000_000 + '"]'}, 413, "the arguments: 5,000,"),
        ({"id": "x" * 600}, 400, "an id has 1 to 512 characters"),
        ({"timeout": 0.0}, 400, "timeout=0.0: it must be finite, and more than 0 s"),
        ({"timeout": float("nan")}, 400, "timeout=nan: it must be "),
        ({"timeout": 1e300}, 400, "timeout=1e+300: it must be "),
        ({"delay": -1.0}, 400, "delay=-1.0: it must be "),
        ({"wait": float("inf")}, 400, "wait=inf: it must be "),
        ({"version": 0}, 400, "version=0: it must be an int from 1 to "),
        ({"priority": 101}, 400, "priority=101: it must be an int from -100 to 100"),
        ({"tags": {"understudy:target": "x"}}, 400, "tags="),
        ({"unknown": 7}, 400, "unknown=7: it must be refuse or wait"),
        ({"group": "a b"}, 400, "group 'a b' is not valid"),
    ],
)
def test_calls_that_are_wrong(fields: dict[str, object], status: int, text: str) -> None:
    found, detail = problem(start(**fields))
    assert (found, detail.startswith(text)) == (status, True), detail


def test_a_call_of_nothing() -> None:
    assert problem(v1.StartRequest(group="shop")) == (
        400,
        "the function is missing: give its name",
    )
    assert problem(v1.StartRequest(function="price"))[1].startswith("group '' is not valid")


def test_how_long_to_wait() -> None:
    assert requests.wait_s(v1.WaitRequest()) == float("inf")
    assert requests.wait_s(v1.WaitRequest(wait=0)) == 0
    assert requests.wait_s(v1.WaitRequest(wait=1.5)) == 1.5
    assert requests.wait_s(start()) == 0
    with pytest.raises(Problem, match=r"wait=-1\.0"):
        requests.wait_s(v1.WaitRequest(wait=-1))


def test_ids() -> None:
    assert requests.id_of(v1.GetRequest(id="a")) == "a"
    with pytest.raises(Problem, match="an id has 1 to 512 characters, and this one has 0"):
        requests.id_of(v1.WatchRequest())


def test_settlements() -> None:
    resolve = requests.settle(v1.SettleRequest(id="p", json='{"by": "ann"}'))
    assert (resolve.id, resolve.state, decoded(resolve.value.data)) == (
        "p",
        RESOLVED,
        {"by": "ann"},
    )
    empty = requests.settle(v1.SettleRequest(id="p", json=""))
    assert (empty.state, decoded(empty.value.data)) == (RESOLVED, None)
    reject = requests.settle(v1.SettleRequest(id="p", error="too expensive"))
    assert reject.state == REJECTED
    assert decoded(reject.value.data)["message"] == "too expensive"


def test_settlements_that_are_none() -> None:
    assert problem(v1.SettleRequest(id="p"))[1].startswith("give an outcome: ")
    assert problem(v1.SettleRequest(json="1"))[0] == 400
    assert problem(v1.SettleRequest(id="p", json="{"))[1].startswith("json is no JSON: ")


def test_searches() -> None:
    assert requests.search(v1.ListRequest()).limit == 100
    search = requests.search(
        v1.ListRequest(
            state=v1.STATE_CANCELED,
            prefix="a",
            origin="b",
            tags={"understudy:scope": "local"},
            group="shop",
            page_size=7,
            page_token="c",
        )
    )
    assert search.state == "rejected_canceled"
    assert search.tags == {"understudy:scope": "local", TAG_TARGET: "poll://any@shop"}
    assert (search.prefix, search.origin, search.limit, search.cursor) == ("a", "b", 7, "c")


def test_searches_that_are_wrong() -> None:
    assert problem(v1.ListRequest(page_size=1001))[1].startswith("page_size=1001: it must be")
    assert problem(v1.ListRequest(page_size=-1))[0] == 400
    assert problem(v1.ListRequest(group="a b"))[0] == 400
    strange = v1.ListRequest()
    strange.MergeFromString(b"\x08\x63")  # a state of a later version
    assert problem(strange) == (400, "state=99: there is no such state")
