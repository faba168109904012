"""What asks the broker something can be awaited, and never blocks an event loop."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from tests.support import eventually
from understudy import Context, Runtime
from understudy.bench.deployment import free_port
from understudy.errors import BrokerUnavailableError, CanceledError, CommandError, RequestError

Main = Callable[[], Awaitable[None]]
RUNNERS: list[Callable[[Main], Any]] = [lambda main: asyncio.run(main()), trio.run]  # type: ignore[arg-type]


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with Runtime.local() as runtime:
        yield runtime


@pytest.fixture(params=RUNNERS, ids=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    runner: Callable[[Main], Any] = request.param
    return runner


def test_promises(runtime: Runtime, run: Callable[[Main], Any]) -> None:
    async def main() -> None:
        promises = runtime.promises
        made = await promises.create("a", tags={"x": "1"}, value=7)
        assert (made.state, made.param()) == ("pending", 7)
        assert (await promises.resolve("a", "yes")).value() == "yes"
        assert (await promises.get("a")).state == "resolved"
        for n in range(5):
            await promises.create(f"b-{n}", tags={"y": "1"})
        await promises.reject("b-0", "no")
        assert (await promises.cancel("b-1")).state == "canceled"
        found = [each.id async for each in promises.search(tags={"y": "1"}, limit=2)]
        assert found == [f"b-{n}" for n in range(5)]
        with pytest.raises(CommandError, match="does not exist"):
            await promises.get("absent")

    run(main)


def test_schedules_cancel_and_groups(runtime: Runtime, run: Callable[[Main], Any]) -> None:
    @runtime.register
    def report(ctx: Context) -> None:
        return None

    async def main() -> None:
        made = await runtime.schedules.create("nightly", "0 3 * * *", report)
        assert await runtime.schedules.get("nightly") == made
        assert [each.id async for each in runtime.schedules.search()] == ["nightly"]
        await runtime.schedules.delete("nightly")
        assert [each.id async for each in runtime.schedules.search()] == []
        late = runtime.options(delay=60).rpc("late", report)
        await late.wait_stored()
        await late.cancel()
        with pytest.raises(CanceledError):
            await late
        later = runtime.options(delay=60).rpc("later", report)
        await later.wait_stored()
        await runtime.cancel("later")
        with pytest.raises(CommandError):
            await runtime.cancel("absent")
        assert [group.name for group in (await runtime.groups()).groups] == ["local"]

    run(main)


def test_in_a_thread_all_is_as_before(runtime: Runtime) -> None:
    assert runtime.promises.create("a").state == "pending"
    assert runtime.cancel("a") is None
    assert [each.state for each in runtime.promises.search()] == ["canceled"]
    assert next(runtime.promises.search()).id == "a"


def test_an_answer_that_was_not_awaited_says_so(runtime: Runtime) -> None:
    async def main() -> None:
        with pytest.raises(RequestError, match=r"write `await runtime.promises.get\('a'\)`"):
            print(runtime.promises.get("a").state)
        with pytest.raises(RequestError, match="async for"):
            list(runtime.promises.search())

    runtime.promises.create("a")
    asyncio.run(main())


def test_a_failure_that_nobody_awaits_is_logged(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        runtime.promises.resolve("absent", 1)
        await runtime.groups()

    with caplog.at_level(logging.WARNING, logger="understudy"):
        asyncio.run(main())
        gc.collect()
        eventually(lambda: "promises.resolve('absent'), which nobody awaited" in caplog.text)


def test_the_loop_goes_on_while_no_broker_answers(run: Callable[[Main], Any]) -> None:
    """Ticks of the loop are never far apart, whatever waits for the broker."""
    runtime = Runtime(url=f"tcp://127.0.0.1:{free_port()}", group="g", connect_timeout=0.5)

    async def main() -> None:
        gaps: list[float] = []
        failed: list[BaseException] = []

        async def fail(start: Callable[[], Any]) -> None:
            try:
                await start()
            except BrokerUnavailableError as error:
                failed.append(error)

        async def tick() -> None:
            last = time.monotonic()
            while len(failed) < 4:
                await (trio if run is trio.run else asyncio).sleep(0.01)
                gaps.append(time.monotonic() - last)
                last = time.monotonic()

        starts = [
            lambda: runtime.promises.get("a"),
            lambda: runtime.schedules.get("a"),
            lambda: runtime.cancel("a"),
            runtime.groups,
        ]
        if run is trio.run:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                for start in starts:
                    nursery.start_soon(fail, start)
        else:
            await asyncio.gather(tick(), *(fail(start) for start in starts))
        assert len(gaps) >= 10
        assert sorted(gaps)[-3] < 0.25, "a busy machine may be late once or twice"

    try:
        run(main)
    finally:
        runtime.stop()
