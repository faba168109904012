"""Requests whose bodies do not arrive as they should, at both applications of the protocol."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from understudy.edge.resonate.event_streams import EventStreams
from understudy.edge.resonate.handlers import ResonateApp
from understudy.edge.resonate.legacy.clients import Clients
from understudy.edge.resonate.legacy.handlers import LegacyApp
from understudy.edge.resonate.streams import Streams

PART = {"type": "http.request", "body": b"{" * 6, "more_body": True}


async def unasked(*_: object) -> Any:
    raise AssertionError("it must not come to this")


class Unasked:
    """A store that nothing is asked of."""

    ask_all = staticmethod(unasked)


def resonate_app() -> ResonateApp:
    events = EventStreams(Streams(print, print), trio.Event(), 1)
    perform: Any = unasked
    return ResonateApp(unasked, perform, events, 10)


def legacy_app() -> LegacyApp:
    return LegacyApp(unasked, Unasked(), Clients(str), 10)


async def answers(app: Any, path: str, *messages: dict[str, Any]) -> list[Any]:
    """Return what the application sends to a client that sends these, and then nothing."""
    waiting = list(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        await trio.lowlevel.checkpoint()
        if not waiting:
            await trio.sleep_forever()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(("make", "path"), [(resonate_app, "/"), (legacy_app, "/promises")])
async def test_bodies_that_do_not_arrive(make: Any, path: str, autojump_clock: Any) -> None:
    for messages, status in (([PART], 408), ([PART] * 20, 413)):
        head, body = await answers(make(), path, *messages)
        assert head["status"] == status
        assert (b"connection", b"close") in head["headers"]
        assert body["body"]
    assert await answers(make(), path, PART, {"type": "http.disconnect"}) == []
    assert trio.current_time() < 100
