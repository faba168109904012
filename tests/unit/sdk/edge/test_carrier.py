"""The edge as a carrier: answers, errors, sessions that end, and the end of the edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from understudy.edge import carrier as module
from understudy.edge.carrier import Carrier, Deliver, DeliveryError, open_carrier
from understudy_broker.protocol.messages import Carry, Forward, Forwarded

A = Forward("x://one", "a", 0)


class Link:
    """A broker that takes notes."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def take(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return sent


class Brokers:
    """In the place of the edge's own."""

    def __init__(self) -> None:
        self.link = Link()
        self.on_message: Callable[..., None]
        self.on_welcome: Callable[..., None]

    def follow(self, on_message: Callable[..., None], on_welcome: Callable[..., None]) -> None:
        self.on_message, self.on_welcome = on_message, on_welcome

    def tell(self, message: Any) -> None:
        self.link.send(message)

    def welcome(self) -> None:
        self.on_welcome(self.link, None)

    def forward(self, forward: Forward) -> None:
        self.on_message(self.link, forward)


@asynccontextmanager
async def carrying(deliver: Mapping[str, Deliver]) -> AsyncIterator[tuple[Brokers, Carrier]]:
    brokers: Any = Brokers()
    async with open_carrier(brokers, deliver, 8) as carrier:
        brokers.welcome()
        yield brokers, carrier


async def _take(_forward: Forward) -> None:
    await trio.lowlevel.checkpoint()


async def test_each_scheme_has_its_way(autojump_clock: object) -> None:
    seen: list[str] = []

    async def note(forward: Forward) -> None:
        seen.append(forward.address)

    async with carrying({"x": note, "y": _take}) as (brokers, carrier):
        brokers.forward(A)
        brokers.forward(Forward("y://two", "b", 3))
        assert carrier.under_way == 2
        await wait_all_tasks_blocked()
        assert carrier.under_way == 0
        welcome, *answers = brokers.link.take()
        assert welcome == Carry(("x", "y"), 8)
        assert {each.id for each in answers} == {"a", "b"}
        assert all(each.error is None for each in answers)
        assert seen == ["x://one"]
    assert brokers.link.take() == [Carry(("x", "y"), 0)]


@pytest.mark.parametrize(
    ("error", "text", "rest_ms"),
    [
        (DeliveryError("status 500"), "status 500", None),
        (DeliveryError("status 503", retry_after_s=1.5), "status 503", 1_500),
        (DeliveryError("status 503", retry_after_s=float("inf")), "status 503", 86_400_000),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh", None),
    ],
)
async def test_what_goes_wrong_is_told_and_harms_nothing(
    error: Exception, text: str, rest_ms: int | None
) -> None:
    async def fail(_forward: Forward) -> None:
        raise error

    async with carrying({"x": fail, "y": _take}) as (brokers, _):
        brokers.forward(A)
        brokers.forward(Forward("z://nobody", "b", 0))  # of a scheme that it does not carry
        await wait_all_tasks_blocked()
        brokers.forward(Forward("y://two", "c", 0))
        await wait_all_tasks_blocked()
        answers = {each.id: each for each in brokers.link.take()[1:]}
        assert answers["a"] == Forwarded("x://one", "a", 0, text, None, rest_ms)
        assert answers["b"].error is not None
        assert answers["c"].error is None


async def test_an_answer_of_an_earlier_session_is_not_told() -> None:
    go_on = trio.Event()

    async def wait(_forward: Forward) -> None:
        await go_on.wait()

    async with carrying({"x": wait}) as (brokers, _):
        brokers.forward(A)
        await wait_all_tasks_blocked()
        brokers.welcome()
        brokers.link.take()
        go_on.set()
        await wait_all_tasks_blocked()
        assert brokers.link.take() == []


async def test_the_end_waits_for_what_is_under_way_but_not_forever(autojump_clock: Any) -> None:
    async def last(forward: Forward) -> None:
        await trio.sleep(1.0 if forward.id == "a" else 1_000.0)

    began = trio.current_time()
    async with carrying({"x": last}) as (brokers, _):
        brokers.forward(A)
        brokers.forward(Forward("x://one", "b", 0))
    assert trio.current_time() - began == pytest.approx(module.DRAIN_S)
    assert brokers.link.take()[1:] == [Carry(("x",), 0), Forwarded("x://one", "a", 0)]
