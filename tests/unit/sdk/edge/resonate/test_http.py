"""Bodies of requests: how they may arrive, and how long that may take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from starlette.requests import ClientDisconnect

from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.http import read_body


class Client:
    """Sends parts of a body, and then nothing more."""

    def __init__(self, parts: Iterable[bytes], *, ends: bool = False, hangs_up: bool = False):
        self.parts = list(parts)
        self.ends = ends
        self.hangs_up = hangs_up
        self.taken = 0

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self.taken < len(self.parts):
            self.taken += 1
            has_more = not self.ends or self.taken < len(self.parts)
            part = self.parts[self.taken - 1]
            return {"type": "http.request", "body": part, "more_body": has_more}
        if self.hangs_up:
            return {"type": "http.disconnect"}
        await trio.sleep_forever()
        raise AssertionError


async def test_a_body_in_parts() -> None:
    assert await read_body(Client([b"a", b"b", b""], ends=True).receive, 2) == b"ab"


async def refused(client: Client) -> int:
    with pytest.raises(Refusal) as raised:
        await read_body(client.receive, 10)
    return raised.value.status


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a" * 11, b"b"]])
async def test_a_body_must_arrive_in_time(parts: list[bytes], autojump_clock: Any) -> None:
    assert await refused(Client(parts)) == 408
    assert trio.current_time() < 100


async def test_a_body_that_is_too_large_is_read_to_its_end() -> None:
    client = Client([b"a" * 10] * 3, ends=True)
    assert await refused(client) == 413
    assert client.taken == 3


async def test_a_body_without_an_end_is_not() -> None:
    client = Client([b"a" * 10] * 100)
    assert await refused(client) == 413
    assert client.taken == 5


@pytest.mark.parametrize("parts", [[], [b"{}"], [b"a" * 11]])
async def test_the_end_of_a_connection_is_not_that_of_a_body(parts: list[bytes]) -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(Client(parts, hangs_up=True).receive, 10)
