"""Histories: recorded, kept in files, and replayed with changed code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from understudy import CommandError, Context, NonDeterminismError, Promise, Runtime
from understudy.testing import History, HistoryError, Replayed, Stage, record, replay

runtime = Runtime.local()
ran: list[str] = []


def charge(ctx: Context, cents: int) -> str:
    ran.append(ctx.id)
    return f"receipt for {cents}"


@runtime.register
def ship(ctx: Context, order: int) -> str:
    ran.append(ctx.id)
    return f"parcel {order}"


@runtime.register
def checkout(ctx: Context, order: int) -> Generator[Any, Any, list[str]]:
    receipt = yield ctx.run(charge, order)
    yield ctx.sleep(60)
    yield ctx.detached(ship, 0)
    parcel = yield ctx.rpc(ship, order)
    return [receipt, parcel]


@runtime.register
async def coroutine(ctx: Context, order: int) -> str:
    await trio.sleep(0)
    receipt = await ctx.run(charge, order)
    await trio.sleep(0)
    return receipt + await ctx.rpc(ship, order)


@runtime.register
def asks(ctx: Context) -> Generator[Any, Any, Any]:
    left = yield ctx.begin_rpc(ship, 1)
    promise: Promise[Any] = yield ctx.promise()
    answer = yield promise
    return [(yield left), answer]


@runtime.register
def parent(ctx: Context) -> Generator[Any, Any, Any]:
    return [(yield ctx.rpc(checkout, 1)), (yield ctx.rpc(checkout, 2))]


def history_of(fn: Callable[..., Any], *args: Any, ends: bool = True) -> History:
    with Stage(runtime):
        handle = runtime.rpc("call-1", fn, *args)
        if ends:
            handle.result()
        return record("call-1", runtime)


# Code that goes on ---------------------------------------------------------------------------


def test_the_same_code_matches_and_nothing_runs() -> None:
    for fn, args, calls in ((checkout, (7,), 4), (coroutine, (7,), 2)):
        history = history_of(fn, *args)
        ran.clear()
        assert replay(history, fn) == [Replayed("call-1", calls, None, True)]
        assert ran == []


def test_a_call_that_had_not_ended() -> None:
    history = history_of(asks, ends=False)
    assert replay(history, asks) == [Replayed("call-1", 2, None, None)]
    history = history_of(checkout, 7, ends=False)
    [replayed] = replay(history, checkout)
    assert (replayed.calls, replayed.beyond, replayed.same_result) == (2, None, None)


def test_all_runs_of_the_function_in_the_history_are_replayed() -> None:
    history = history_of(parent)
    assert [replayed.id for replayed in replay(history, checkout)] == ["call-1.1", "call-1.2"]
    assert [replayed.id for replayed in replay(history, parent)] == ["call-1"]


def test_code_may_go_on_after_the_recorded_end_unless_that_is_strict() -> None:
    def longer(ctx: Context, order: int) -> Generator[Any, Any, str]:
        yield ctx.run(charge, order)
        yield ctx.sleep(3600)
        yield ctx.detached(ship, 0)
        yield ctx.begin_rpc(ship, order)
        yield ctx.run(charge, 0)
        return "done"

    history = history_of(checkout, 7)
    [replayed] = replay(history, longer, runtime=runtime, name="checkout")
    line = longer.__code__.co_firstlineno + 5
    assert replayed.beyond == f"run charge at testing/test_replays.py:{line}"
    assert "4 recorded calls match; then it asks for run charge at" in str(replayed)
    with pytest.raises(
        NonDeterminismError, match=r"its end \(resolved\) after 4 calls.*run charge"
    ):
        replay(history, longer, runtime=runtime, name="checkout", strict=True)


def test_another_result_is_reported_and_fails_only_if_strict() -> None:
    def dearer(ctx: Context, order: int) -> Generator[Any, Any, str]:
        yield ctx.run(charge, order + 1)
        yield ctx.sleep(60)
        yield ctx.detached(ship, 0)
        yield ctx.rpc(ship, order)
        return "something else"

    history = history_of(checkout, 7)
    [replayed] = replay(history, dearer, runtime=runtime, name="checkout")
    assert replayed.same_result is False
    assert str(replayed).endswith("it ends with another result than was recorded")
    with pytest.raises(NonDeterminismError, match="asks for another result"):
        replay(history, dearer, runtime=runtime, name="checkout", strict=True)


# Code that does not --------------------------------------------------------------------------


def swapped(ctx: Context, order: int) -> Generator[Any, Any, Any]:
    parcel = yield ctx.rpc(ship, order)
    receipt = yield ctx.run(charge, order)
    return [receipt, parcel]


def test_another_order_names_both_places() -> None:
    with pytest.raises(NonDeterminismError) as caught:
        replay(history_of(checkout, 7), swapped, runtime=runtime, name="checkout")
    old, new = checkout.__code__.co_firstlineno + 2, swapped.__code__.co_firstlineno + 1
    file = "testing/test_replays.py"
    assert str(caught.value).startswith(
        f"call-1.1: the history holds run charge (called at {file}:{old}), but the code now asks "
        f"for rpc ship (at {file}:{new}). A durable function must make the same calls"
    )
    [note] = caught.value.__notes__
    assert note == (
        "found by replaying call-1, rpc checkout version 1, of the history of call-1 "
        f"(5 promises) with swapped at tests/unit/sdk/{file}:{new - 1}"
    )


def shorter(ctx: Context, order: int) -> Generator[Any, Any, Any]:
    return (yield ctx.run(charge, order))


def test_a_call_that_is_no_longer_made() -> None:
    line = checkout.__code__.co_firstlineno + 3
    with pytest.raises(NonDeterminismError) as caught:
        replay(history_of(checkout, 7), shorter, runtime=runtime, name="checkout")
    assert (
        f"call-1.2: the history holds sleep (called at testing/test_replays.py:{line}), but the "
        "code now asks for nothing: it ended"
    ) in str(caught.value)


def test_a_call_that_is_no_longer_made_while_others_are_pending() -> None:
    def hasty(ctx: Context) -> Generator[Any, Any, Any]:
        yield ctx.begin_rpc(ship, 1)

    history = history_of(asks, ends=False)
    root, *others = history.promises
    pending = [msgspec.structs.replace(r, state="pending", settled_at=None) for r in others]
    with pytest.raises(NonDeterminismError, match=r"call-1\.2: the history holds promise"):
        replay(History("call-1", (root, *pending)), hasty, runtime=runtime, name="asks")


def test_a_detached_call_of_another_function() -> None:
    def other(ctx: Context, order: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, order)
        yield ctx.sleep(60)
        yield ctx.detached(checkout, 0)
        yield ctx.rpc(ship, order)

    with pytest.raises(NonDeterminismError, match=r"call-1\.3: .* detached ship .* checkout"):
        replay(history_of(checkout, 7), other, runtime=runtime, name="checkout")


def test_a_detached_call_that_is_no_longer_made() -> None:
    def unattended(ctx: Context, order: int) -> Generator[Any, Any, Any]:
        receipt = yield ctx.run(charge, order)
        yield ctx.sleep(60)
        return receipt

    history = history_of(checkout, 7)
    attached = tuple(record for record in history.promises if record.id != "call-1.4")
    with pytest.raises(NonDeterminismError, match=r"call-1\.3: the history holds detached ship"):
        replay(History("call-1", attached), unattended, runtime=runtime, name="checkout")


def test_an_error_of_the_code_is_reported_too() -> None:
    def broken(ctx: Context, order: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, order)
        raise LookupError("no such shelf")

    with pytest.raises(NonDeterminismError) as caught:
        replay(history_of(checkout, 7), broken, runtime=runtime, name="checkout")
    assert isinstance(caught.value.__cause__, LookupError)
    assert "the code itself has raised LookupError('no such shelf')" in caught.value.__notes__


def test_a_function_that_became_plain() -> None:
    def plain(_: Context, order: int) -> list[str]:
        raise AssertionError("it must not run")

    with pytest.raises(NonDeterminismError, match="asks for nothing: it ended"):
        replay(history_of(checkout, 7), plain, runtime=runtime, name="checkout")


async def test_a_coroutine_is_replayed_under_trio_too() -> None:
    async def fewer(ctx: Context, order: int) -> str:
        await trio.sleep(0)
        return str(await ctx.run(charge, order))

    history = history_of(coroutine, 7)
    assert replay(history, coroutine) == [Replayed("call-1", 2, None, True)]
    with pytest.raises(NonDeterminismError, match=r"call-1\.2"):
        replay(history, fewer, runtime=runtime, name="coroutine")


# Histories -----------------------------------------------------------------------------------


def test_a_history_that_does_not_know_the_function() -> None:
    with pytest.raises(HistoryError) as caught:
        replay(history_of(checkout, 7), swapped, runtime=runtime)
    assert "has no run of 'swapped' in this version (functions in it: charge, checkout, ship)" in (
        str(caught.value)
    )
    assert "give that with name=..." in str(caught.value)


def test_versions_are_told_apart() -> None:
    own = Runtime.local()

    @own.register(name="price", version=1)
    def price_v1(ctx: Context) -> Generator[Any, Any, Any]:
        return (yield ctx.run(charge, 1))

    @own.register(name="price", version=2)
    def price_v2(ctx: Context) -> Generator[Any, Any, Any]:
        return (yield ctx.rpc(ship, 1))

    with Stage(own):
        own.rpc("p", price_v1).result()
        history = record("p", own)
    assert len(replay(history, price_v1, runtime=own)) == 1
    with pytest.raises(HistoryError, match="no run of 'price' in this version"):
        replay(history, price_v2, runtime=own)


def test_a_file_contains_the_same_history(tmp_path: Path) -> None:
    histories = [history_of(checkout, 7), history_of(parent)]
    for number, history in enumerate(histories):
        history.save(tmp_path / f"{number}.json")
        assert History.load(tmp_path / f"{number}.json") == history
    assert len(replay(str(tmp_path / "0.json"), checkout)) == 1
    # A folder stands for all files in it.
    assert len(replay(tmp_path, checkout)) == 3
    text = (tmp_path / "0.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["promises"][1]["param"]["headers"]["fn"] == "charge"


def test_the_file_is_the_same_for_the_same_call(tmp_path: Path) -> None:
    for name in ("a", "b"):
        history_of(parent).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_id_is_recorded_from_the_runtime() -> None:
    with Stage(runtime):
        runtime.rpc("call-9", checkout, 7).result()
        assert replay("call-9", checkout, runtime=runtime)[0].id == "call-9"
        with pytest.raises(CommandError, match="404"):
            record("nobody", runtime)


def test_a_part_of_a_call_graph_is_recorded_alone() -> None:
    with Stage(runtime):
        runtime.rpc("call-1", parent).result()
        history = record("call-1.2", runtime)
    assert [r.id for r in history.promises] == [
        "call-1.2",
        "call-1.2.1",
        "call-1.2.2",
        "call-1.2.3",
        "call-1.2.4",
    ]
    assert replay(history, checkout) == [Replayed("call-1.2", 4, None, True)]


def file_of(**changes: Any) -> str:
    good = {"format": "understudy history", "version": 1, "id": "x", "promises": []}
    return json.dumps(good | changes)


DAMAGED = {"id": "x", "state": "pending", "timeout_at": 1, "created_at": 0, "param": {"data": "?"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "holds no history"),
        ("{}", "holds no history"),
        (file_of(format="other"), "'other' version 1"),
        (file_of(version=9), "version 9, but this release reads"),
        (file_of(promises=[DAMAGED]), "promise 'x'"),
    ],
)
def test_a_file_that_is_no_history_says_so(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text(text)
    with pytest.raises(HistoryError, match=re.escape(says)) as caught:
        replay(path, checkout)
    assert "ecord it again" in str(caught.value)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"there is no \.json file in"):
        replay(tmp_path, checkout)
