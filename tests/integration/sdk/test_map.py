"""runtime.map: many calls from outside, with a broker and sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import trio

from understudy import (
    CommandError,
    ConfigurationError,
    EncodingError,
    Handles,
    InvalidArgumentsError,
    Never,
    Runtime,
    WaitTimeoutError,
)

MANY = 5_000


def local() -> Runtime:
    runtime = Runtime.local(pickle=False)

    @runtime.register(retry=Never())
    def inverse(ctx: Any, number: int) -> float:
        return 1 / number

    return runtime


def test_results_come_in_the_order_of_the_items() -> None:
    with local() as runtime:
        handles = runtime.map("many", "inverse", range(1, MANY + 1))
        assert len(handles) == MANY
        assert handles.results() == [1 / number for number in range(1, MANY + 1)]
        assert handles[7].id == "many/7"
        assert [handle.id for handle in handles[2:4]] == ["many/2", "many/3"]
        assert repr(handles) == "<Handles of 5,000 calls, 5,000 done>"


def test_few_commits_for_many_calls() -> None:
    # No node takes them, so the commits are those of the creates alone.
    with local() as runtime:
        before = runtime.groups().counters["commits"]
        runtime.options(target="nobody").map("many", "inverse", range(MANY))
        commits = runtime.groups().counters["commits"] - before
        assert commits < MANY / 20
        assert runtime.promises.get(f"many/{MANY - 1}").state == "pending"


def test_the_same_ids_are_the_same_calls() -> None:
    with local() as runtime:
        first = runtime.map(["a", "b"], "inverse", [1, 2]).results()
        assert runtime.map(["b", "a"], "inverse", [2, 1]).results() == first[::-1]
        assert runtime.rpc("b", "inverse", 2).result() == 0.5


def test_failures_are_raised_with_their_place_or_returned() -> None:
    with local() as runtime:
        handles = runtime.map("some", "inverse", [1, 0, 2])
        with pytest.raises(ZeroDivisionError) as caught:
            handles.results()
        assert "item 1 of runtime.map, counted from 0: id some/1" in caught.value.__notes__
        one, failed, half = handles.results(return_exceptions=True)
        assert (one, half) == (1, 0.5)
        assert isinstance(failed, ZeroDivisionError)


def test_nothing_is_called_if_an_item_cannot_be_sent() -> None:
    with local() as runtime:
        with pytest.raises(EncodingError):
            runtime.map("bad", "inverse", [1, object()])
        assert list(runtime.promises.search(prefix="bad")) == []


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        (["a"], "1 ids and 2 items"),
        (["a", "a"], "the id 'a' is given twice"),
        ("", "needs an id"),
        (["a", 5], "id=5"),
    ],
)
def test_wrong_ids_are_refused(ids: Any, match: str) -> None:
    with local() as runtime:
        with pytest.raises(ConfigurationError, match=match):
            runtime.map(ids, "inverse", [1, 2])
        assert list(runtime.promises.search()) == []


def test_wrong_arguments_are_refused() -> None:
    runtime = Runtime.local()

    @runtime.register
    def two(ctx: Any, a: int, b: int) -> int:
        return a + b

    with runtime, pytest.raises(InvalidArgumentsError):
        runtime.map("x", two, [1])  # type: ignore[arg-type]


def test_one_refusal_does_not_keep_the_others_from_being_made() -> None:
    with local() as runtime:
        runtime.promises.create("x/1")
        with pytest.raises(CommandError, match="x/1"):
            runtime.map("x", "inverse", [1, 2, 4])
        assert runtime.get("x/2").result() == 0.25


def test_nothing_to_do() -> None:
    with local() as runtime:
        handles: Handles[Any] = runtime.map("none", "inverse", [])
        assert handles.results() == []


def test_a_time_limit_holds_for_all_together() -> None:
    with local() as runtime:
        handles = runtime.options(target="nobody").map("late", "inverse", [1, 2])
        with pytest.raises(WaitTimeoutError):
            handles.results(timeout=0.05)


async def _all(runtime: Runtime) -> list[Any]:
    handles = runtime.map("async", "inverse", range(1, MANY + 1))
    await handles.wait_stored()
    return await handles


def test_it_is_awaited_under_trio_and_asyncio() -> None:
    expected = [1 / number for number in range(1, MANY + 1)]
    for run in (trio.run, lambda fn, arg: asyncio.run(fn(arg))):
        with local() as runtime:
            assert run(_all, runtime) == expected


def test_a_refusal_on_a_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main(runtime: Runtime) -> None:
        handles = runtime.map("x", "inverse", [1, 2])
        with pytest.raises(CommandError):
            await handles

    with local() as runtime, caplog.at_level(logging.WARNING, "understudy"):
        runtime.promises.create("x/1")
        trio.run(main, runtime)
    assert "the call 'x/1' was refused" in caplog.text
