"""Handles, and the futures behind them that answers of the broker settle."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice, repeat
from types import SimpleNamespace
from typing import Any

import pytest
import trio

import understudy.handle
from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.requests import PendingRequests
from understudy.errors import PayloadTooLargeError
from understudy.handle import Handle, refusal
from understudy.values import Codec
from understudy.wait_notices import pauses_s
from understudy_actors.errors import CommandError
from understudy_broker.errors import LinkFullError
from understudy_broker.protocol.messages import (
    AnyCommand,
    PromiseCreateWatched,
    PromiseWatch,
    Refused,
    Response,
)
from understudy_store.commands import PromiseCreate, Reply
from understudy_store.records import EMPTY, HEADER_FUNCTION, PromiseRecord, Value

WAIT_S = 10.0


def record(id: str, function: str = "f", *, settled: bool = True) -> PromiseRecord:
    param = Value({HEADER_FUNCTION: function}, b"1")
    state, at = ("resolved", 2) if settled else ("pending", None)
    return PromiseRecord(id, state, param, EMPTY, {}, 9, 1, at)  # type: ignore[arg-type]


class Broker:
    """Receives requests, and answers when a test says so."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.asked: list[tuple[AnyCommand, Callable[[Response | Refused], None]]] = []
        self.requests = PendingRequests(DuplicateCalls(Codec(), self.warnings.append), self._send)

    def _send(self, command: AnyCommand, on_reply: Callable[[Response | Refused], None]) -> None:
        self.asked.append((command, on_reply))

    def answer(self, status: int, **fields: Any) -> None:
        """Answer the oldest request."""
        _, on_reply = self.asked.pop(0)
        on_reply(Response(1, Reply(status, "no" if status >= 400 else None, **fields)))

    def watch(self, id: str) -> Future[PromiseRecord]:
        future: Future[PromiseRecord] = Future()
        self.requests.watch(id, future)
        return future


def handle_of(future: Future[PromiseRecord], decode: Callable[[PromiseRecord], Any]) -> Handle[Any]:
    here: Any = SimpleNamespace(os_pid=os.getpid(), look=lambda id: None)
    return Handle("x", Future(), future, decode, here, here)


class TestHandles:
    def test_a_handle_of_another_process_attaches_again(self) -> None:
        here: Any = SimpleNamespace(os_pid=os.getpid())
        parent: Any = SimpleNamespace(os_pid=os.getpid() - 1)
        attached: Future[Any] = Future()
        attached.set_result("record")
        asked: list[str] = []

        def attach(id: str) -> Any:
            asked.append(id)
            return here, attached

        calls: Any = SimpleNamespace(attach=attach)
        handle: Handle[Any] = Handle("x", Future(), Future(), lambda found: found, calls, parent)
        assert repr(handle) == f"<Handle x of process {parent.os_pid}>"
        assert handle.result(1) == "record"
        assert handle.done()
        assert asked == ["x"]
        assert repr(handle) == "<Handle x done>"

    def test_a_wait_ends_at_its_timeout_and_may_be_repeated(self) -> None:
        asked: list[float | None] = []

        class Watched(Future[PromiseRecord]):
            def result(self, timeout: float | None = None) -> PromiseRecord:
                asked.append(timeout)
                return super().result(0 if timeout else None)

        future = Watched()
        handle = handle_of(future, lambda found: found.id)
        first, second, _ = islice(pauses_s("x"), 3)
        with pytest.raises(TimeoutError, match=r"'x' is still pending after 6 s"):
            handle.result(6)
        assert not handle.done()
        future.set_result(record("x"))
        assert handle.result() == "x"
        # It looks now and then why it takes so long, and then waits for the rest.
        assert asked == [first, second, pytest.approx(6 - first - second), first]

    def test_a_timeout_of_the_wait_differs_from_the_timeout_error_of_a_function(self) -> None:
        future: Future[PromiseRecord] = Future()
        future.set_exception(TimeoutError("the function's own"))
        with pytest.raises(TimeoutError, match="the function's own"):
            handle_of(future, lambda found: found.id).result(1)

    def test_a_canceled_wait_leaves_the_call_alone(self) -> None:
        future: Future[PromiseRecord] = Future()
        handle = handle_of(future, lambda found: found.id)

        async def wait() -> str:
            first = asyncio.ensure_future(handle._wait())
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            # Let the callbacks of the cancellation run, which might change the future.
            await asyncio.sleep(0)
            assert not future.cancelled()
            future.set_result(record("x"))
            return str(await asyncio.wait_for(handle._wait(), WAIT_S))

        assert asyncio.run(wait()) == "x"

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_a_wait_on_a_loop_looks_now_and_then(
        self, loop: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(understudy.handle, "pauses_s", lambda id: repeat(0.001))
        future: Future[PromiseRecord] = Future()
        looked: list[str] = []

        def look(id: str) -> None:
            looked.append(id)
            if len(looked) == 3:
                future.set_result(record("x"))

        here: Any = SimpleNamespace(os_pid=os.getpid(), look=look)
        handle: Handle[str] = Handle("x", Future(), future, lambda found: found.id, here, here)

        async def on_asyncio() -> str:
            return await asyncio.wait_for(handle._wait(), WAIT_S)

        async def on_trio() -> str:
            with trio.fail_after(WAIT_S):
                return await handle

        assert (asyncio.run(on_asyncio()) if loop == "asyncio" else trio.run(on_trio)) == "x"
        assert looked[:3] == ["x", "x", "x"]

    @pytest.mark.parametrize("closed", [False, True])
    def test_a_failure_that_nobody_waits_for_is_silent(
        self, caplog: pytest.LogCaptureFixture, closed: bool
    ) -> None:
        async def give_up() -> Future[PromiseRecord]:
            future: Future[PromiseRecord] = Future()
            handle = handle_of(future, lambda record: record.id)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle._wait(), 0.01)
            if not closed:
                future.set_exception(RuntimeError("this runtime has been stopped"))
                for _ in range(3):
                    await asyncio.sleep(0)
            return future

        future = asyncio.run(give_up())
        if closed:
            future.set_exception(RuntimeError("this runtime has been stopped"))
        del future
        gc.collect()
        assert caplog.records == []


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Refused(429, "too much", corr=1), CommandError, "too much"),
        (Response(1, Reply(404, "no such promise")), CommandError, "no such promise"),
        (Response(1, Reply(413, "the param")), PayloadTooLargeError, "the param"),
    ],
)
def test_refusals_become_errors(answer: Response | Refused, kind: type, text: str) -> None:
    error = refusal(answer)
    assert isinstance(error, kind)
    assert text in str(error)
    assert refusal(Response(1, Reply(201))) is None


class TestWaiting:
    def test_all_waiters_get_the_result_of_one_request(self) -> None:
        broker = Broker()
        futures = [broker.watch("p") for _ in range(3)]
        assert [command for command, _ in broker.asked] == [PromiseWatch(("p",))]
        broker.answer(200, promises=[])
        assert not any(future.done() for future in futures)
        broker.requests.resolve([record("p"), record("unknown")])
        assert [future.result(0).id for future in futures] == ["p"] * 3
        assert not broker.requests.watches

    def test_a_promise_that_has_settled_before_is_the_answer(self) -> None:
        broker = Broker()
        future = broker.watch("p")
        broker.answer(200, promises=[record("p")])
        assert future.result(0).id == "p"

    def test_an_absent_promise_does_not_affect_other_watches(self) -> None:
        broker = Broker()
        there, absent = broker.watch("there"), broker.watch("absent")
        broker.asked.clear()
        broker.requests.renew_watches()
        broker.answer(404)
        assert [command for command, _ in broker.asked] == [
            PromiseWatch(("there",)),
            PromiseWatch(("absent",)),
        ]
        broker.answer(200, promises=[record("there")])
        broker.answer(404)
        assert there.result(0).id == "there"
        with pytest.raises(CommandError):
            absent.result(0)

    @pytest.mark.parametrize(("found", "refused"), [("f", False), ("other", True)])
    def test_an_id_of_another_function_is_refused(self, found: str, refused: bool) -> None:
        broker = Broker()
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        broker.requests.invoke(PromiseCreate("p", 9, record("p").param), stored, result)
        broker.answer(200, promise=record("p", found, settled=False))
        assert stored.done()
        assert result.done() is refused
        if refused:
            with pytest.raises(CommandError, match="belongs to a call of 'other'"):
                result.result(0)

    def test_a_refused_call_does_not_end_other_watches_of_its_id(self) -> None:
        broker = Broker()
        stored: Future[None] = Future()
        result: Future[PromiseRecord] = Future()
        create = PromiseCreate("p", 9, record("p").param)
        broker.requests.invoke(create, stored, result)
        other = broker.watch("p")
        assert [command for command, _ in broker.asked] == [PromiseCreateWatched(create)]
        broker.answer(429)
        assert result.done()
        assert not other.done()
        assert [command for command, _ in broker.asked] == [PromiseWatch(("p",))]
        broker.answer(404)
        with pytest.raises(CommandError):
            other.result(0)
        assert not broker.requests.watches

    def test_a_request_that_cannot_be_sent_is_not_watched(self) -> None:
        def full(_: object, __: object) -> None:
            raise LinkFullError("too much is unanswered")

        requests = PendingRequests(DuplicateCalls(Codec(), pytest.fail), full)
        with pytest.raises(LinkFullError):
            requests.invoke(PromiseCreate("p", 9), Future(), Future())
        with pytest.raises(LinkFullError):
            requests.watch("p", Future())
        assert not requests.watches

    def test_at_the_end_all_futures_fail(self) -> None:
        broker = Broker()
        waiting = [broker.watch("p"), broker.watch("p"), broker.watch("q")]
        command: Future[Response] = Future()
        broker.requests.unanswered[command] = None
        broker.requests.command(PromiseWatch(()), command)
        broker.requests.fail_all(RuntimeError("stopped"))
        errors = [future.exception(0) for future in waiting] + [command.exception(0)]
        assert [type(error) for error in errors] == [RuntimeError] * 4
        assert not broker.requests.unanswered
