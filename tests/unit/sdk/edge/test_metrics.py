"""An edge counts its requests by method and status, and shows them."""

from __future__ import annotations

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from understudy.edge.metrics import FAMILIES, Counted, EdgeMonitor, EdgeNumbers, edge_text


async def _receive() -> Message:
    raise AssertionError("nothing is sent")


async def _ask(app: Counted, method: str, kind: str = "http") -> None:
    async def send(message: Message) -> None:
        pass

    await app({"type": kind, "method": method}, _receive, send)


async def test_requests_are_counted_by_method_and_status() -> None:
    numbers = EdgeNumbers()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(numbers.in_flight)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ConnectionError

    seen: list[int] = []
    app = Counted(answer, numbers)
    for method in ("GET", "GET", "BREW"):
        await _ask(app, method)
    await _ask(app, "GET", "websocket")
    with pytest.raises(ConnectionError):
        await _ask(Counted(fail, numbers), "GET")
    assert numbers.requests == {("GET", "200"): 2, ("other", "200"): 1}
    assert seen == [1, 1, 1, 0]
    assert numbers.in_flight == 0
    read = {each.name: each for each in text_string_to_metric_families(edge_text(numbers, True))}
    for family in FAMILIES:
        found = read.pop(family.name.removesuffix("_total"))
        assert found.type == family.kind
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
    assert not read


async def test_an_edge_is_ready_while_a_broker_answers() -> None:
    monitor = EdgeMonitor(EdgeNumbers(), lambda: answers)
    for answers, status in ((False, 503), (True, 200)):
        assert (await trio.to_thread.run_sync(monitor.ready)).status == status
        assert (await trio.to_thread.run_sync(monitor.health)).status == 200
        text = (await trio.to_thread.run_sync(monitor.metrics)).body.decode()
        assert f"understudy_edge_connected {int(answers)}\n" in text
