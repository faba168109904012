"""The bytes that all requests hold together."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from understudy.edge.budgets import Budget, WithinBudget


async def _reads_all(_: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _status(app: WithinBudget, *parts: bytes) -> int:
    """Send a body in parts; return the status of the answer."""
    left = list(parts)
    sent: list[Message] = []

    async def receive() -> Message:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http"}, receive, send)
    return int(sent[0]["status"])


async def test_a_request_without_room_is_refused_and_holds_nothing_afterwards() -> None:
    app = WithinBudget(_reads_all, Budget(10))
    assert await _status(app, b"x" * 6, b"x" * 4) == 200
    assert await _status(app, b"x" * 6, b"x" * 5) == 503
    assert await _status(app, b"x" * 10) == 200


async def test_what_is_under_way_counts() -> None:
    here, go_on = trio.Event(), trio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        here.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    budget = Budget(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_status, WithinBudget(waits, budget), b"x" * 6)
        await here.wait()
        assert await _status(WithinBudget(_reads_all, budget), b"x" * 5) == 503
        go_on.set()
    assert await _status(WithinBudget(_reads_all, budget), b"x" * 10) == 200


async def test_other_errors_are_the_applications_own() -> None:
    async def fails(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        raise KeyError("x")

    budget = Budget(10)
    try:
        await _status(WithinBudget(fails, budget), b"x" * 6)
    except* KeyError:
        pass
    assert budget.take(10)


@given(st.lists(st.integers(0, 20)))
def test_no_more_is_held_than_may_be(sizes: list[int]) -> None:
    budget, held = Budget(30), 0
    for size in sizes:
        if budget.take(size):
            held += size
        assert held <= 30
    budget.give(held)
    assert budget.take(30)
