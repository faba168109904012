"""`crash_everywhere`: its checks, its report, and the message of a failure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import trio

from understudy import Constant, Context, DeadlineExceededError, Never, Promise, Runtime
from understudy.testing import CrashReport, CrashTestError, Stage, StuckError, crash_everywhere
from understudy.testing.simulator import Moment
from understudy_store.commands import Reply
from understudy_store.engines.memory import MemoryEngine

runtime = Runtime.local()

#: Effects that the outside has seen, by the id of the step.
ledger: Counter[str] = Counter()


def step(ctx: Context, value: Any = None) -> Any:
    ledger[ctx.id] += 1
    return value


# Programs ----------------------------------------------------------------------------------------


@runtime.register
def steps(ctx: Context, count: int) -> Generator[Any, Any, list[int]]:
    done = []
    for number in range(count):
        done += [(yield from ctx.run(step, number))]
    return done


@runtime.register
def sleeps(ctx: Context) -> Generator[Any, Any, float]:
    yield ctx.run(step)
    yield ctx.sleep(86_400)
    yield ctx.run(step)
    return ctx.time


@runtime.register
def leaf(ctx: Context, value: int) -> int:
    ledger[ctx.id] += 1
    return value * 2


@runtime.register
def chain(ctx: Context, depth: int) -> Generator[Any, Any, int]:
    if depth == 0:
        return (yield from ctx.rpc(leaf, 1))
    return (yield from ctx.rpc(chain, depth - 1)) + 1


@runtime.register
def tree(ctx: Context, width: int) -> Generator[Any, Any, list[int]]:
    promises = []
    for number in range(width):
        promises += [(yield from ctx.begin_rpc(leaf, number))]
    return (yield from ctx.all(promises))


@runtime.register
async def coroutine(ctx: Context, value: int) -> int:
    await trio.sleep(0)
    one = await ctx.run(step, value)
    await ctx.sleep(60)
    return int(one) + await ctx.rpc(leaf, value) + await ctx.run(acts, value)


async def acts(ctx: Context, value: int) -> int:
    await trio.sleep(0)
    ledger[ctx.id] += 1
    return value


@runtime.register
def races(ctx: Context) -> Generator[Any, Any, Any]:
    slow = yield from ctx.begin_rpc(sleeps)
    first = yield from ctx.race([slow, ctx.sleep(5)])
    yield ctx.run(step)
    return first


@runtime.register
def asks(ctx: Context) -> Generator[Any, Any, Any]:
    promise: Promise[str] = yield from ctx.promise()
    yield ctx.run(step)
    return (yield promise)


@runtime.register
def detaches(ctx: Context) -> Generator[Any, Any, str]:
    promise = yield from ctx.detached(leaf, 4)
    yield ctx.run(step)
    return str(promise.id)


@runtime.register(retry=Constant(pause_s=1, max_attempts=3))
def flaky(ctx: Context) -> int:
    if ctx.info.attempt < 3:
        raise ConnectionError("not yet")
    return ctx.info.attempt


@runtime.register
def retries(ctx: Context) -> Generator[Any, Any, int]:
    return (yield from ctx.rpc(flaky)) + (yield from ctx.run(flaky))


@runtime.register
def nested(ctx: Context) -> Generator[Any, Any, Any]:
    return (yield from ctx.run(inner)) + (yield from ctx.run(inner))


def inner(ctx: Context) -> Generator[Any, Any, int]:
    yield ctx.run(step)
    return (yield from ctx.rpc(leaf, 3))


@runtime.register
def fails(ctx: Context) -> Generator[Any, Any, None]:
    yield ctx.run(step)
    yield ctx.run(refuses).options(retry=Never())


def refuses(_: Context) -> None:
    raise PermissionError("no")


PROGRAMS: dict[str, Callable[[Any], CrashReport[Any]]] = {
    "steps": lambda crashes: crashes(steps, 3),
    "sleeps": lambda crashes: crashes(sleeps),
    "chain": lambda crashes: crashes(chain, 3),
    "tree": lambda crashes: crashes(tree, 3),
    "coroutine": lambda crashes: crashes(coroutine, 7),
    "races": lambda crashes: crashes(races),
    "asks": lambda crashes: crashes(asks),
    "detaches": lambda crashes: crashes(detaches),
    "retries": lambda crashes: crashes(retries),
    "nested": lambda crashes: crashes(nested),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_good_program_passes(name: str) -> None:
    report = PROGRAMS[name](crash_everywhere.on(runtime, outside=lambda _: "yes"))
    assert report.checkpoints > 3
    # Each checkpoint of a write has three moments in which a node can die.
    assert report.checkpoints * 2 < report.crashes == report.crashes_possible
    assert report.repeated, "a step that is under way when its node dies runs again"
    assert all(each.times > each.usually for each in report.repeated)
    assert "no stored step ran again" in str(report)


def test_the_result_is_that_of_the_function() -> None:
    assert crash_everywhere(steps, 2).result == [0, 1]
    assert crash_everywhere(coroutine, 7).result == 7 + 14 + 7


def test_effects_that_run_twice_are_named_with_their_lines() -> None:
    report = crash_everywhere(steps, 2)
    [repeated] = report.repeated
    line = step.__code__.co_firstlineno
    call = next(n for n, text in _source() if "ctx.run(step, number)" in text)
    assert repeated.name == "step"
    assert repeated.place.endswith(f"tests/unit/sdk/testing/test_crashes.py:{line}")
    assert repeated.called_at.endswith(f"test_crashes.py:{call}")
    assert (repeated.times, repeated.usually, repeated.crashes) == (2, 1, 2)
    assert "before the send of: the result of step crash-test.1" in repeated.example
    assert str(repeated) in str(report)
    [replayed] = report.replayed
    assert replayed.name == "steps"
    assert replayed.crashes > 2


def _source() -> list[tuple[int, str]]:
    return list(enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1))


def test_the_ledger_says_the_same_as_the_report() -> None:
    ledger.clear()
    seen: list[int] = []

    def check() -> None:
        seen.append(max(ledger.values()))
        assert set(ledger) == {"crash-test.1", "crash-test.2"}

    report = crash_everywhere.on(runtime, before=ledger.clear, check=check)(steps, 2)
    assert Counter(seen) == {1: report.crashes + 1 - 2, 2: 2}


@pytest.mark.parametrize("moment", list(Moment)[:3])
def test_before_the_send_nothing_is_stored_and_after_it_all(moment: Moment) -> None:
    ledger.clear()
    with Stage(runtime, kills={3: moment}) as stage:
        assert runtime.rpc("s", steps, 1).result() == [0]
        [killed] = stage.simulator.killed
        assert killed.checkpoint.description == "the result of step s.1"
        assert ("s.1" in killed.stored) is (moment is not Moment.BEFORE_SEND)
    assert ledger["s.1"] == (2 if moment is Moment.BEFORE_SEND else 1)


def test_functions_need_no_runtime() -> None:
    def callee(ctx: Context, number: int) -> int:
        return number + 1

    def caller(ctx: Context, number: int) -> Generator[Any, Any, int]:
        return (yield from ctx.rpc(callee, number))

    assert crash_everywhere(caller, 3).result == 4


def test_dependencies_are_those_of_the_runtime() -> None:
    own = Runtime(group="shop")
    own.set_dependency("rate", 3)

    @own.register
    def price(ctx: Context, amount: int) -> Generator[Any, Any, int]:
        yield ctx.sleep(1)
        return amount * int(ctx.get_dependency("rate"))

    assert crash_everywhere.on(own)(price, 5).result == 15


def test_several_groups() -> None:
    shop, bank = Runtime(group="shop"), Runtime(group="bank")

    @bank.register
    def charge(ctx: Context, cents: int) -> str:
        return f"charged {cents}"

    @shop.register
    def checkout(ctx: Context) -> Generator[Any, Any, Any]:
        return (yield from ctx.rpc("charge", 5).options(target="bank"))

    report = crash_everywhere.on(shop, bank)(checkout)
    assert report.result == "charged 5"
    assert [each.name for each in report.repeated] == ["charge"]
    with pytest.raises(StuckError, match=r"crash_everywhere\.on.*Runtime\(group='bank'\)"):
        crash_everywhere.on(shop)(checkout)


def test_an_expected_failure_is_a_result() -> None:
    report = crash_everywhere.on(runtime, raises=PermissionError)(fails)
    assert str(report.error) == "no"
    with pytest.raises(PermissionError, match="no"):
        _ = report.result


def test_any_other_failure_is_raised() -> None:
    with pytest.raises(PermissionError, match="no"):
        crash_everywhere(fails)
    with pytest.raises(DeadlineExceededError):
        crash_everywhere(asks)


def test_the_outside_may_refuse() -> None:
    def refuse(_: str) -> None:
        raise PermissionError("never")

    report = crash_everywhere.on(runtime, outside=refuse, raises=PermissionError)(asks)
    assert str(report.error) == "never"


def test_many_crashes_are_thinned_out() -> None:
    report = crash_everywhere.on(runtime, crashes_max=10)(steps, 20)
    assert report.crashes == 10
    assert report.crashes_possible > 100
    assert f"10 of {report.crashes_possible} crashes" in str(report)


# Failures ----------------------------------------------------------------------------------------


def test_a_function_that_is_not_deterministic() -> None:
    flips = itertools.cycle([True, False])

    def flipping(ctx: Context) -> Generator[Any, Any, str]:
        if next(flips):
            yield ctx.run(step)
        else:
            yield ctx.run(inner)
        return "done"

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere(flipping)
    text = str(caught.value)
    first, second = (
        flipping.__code__.co_firstlineno + 2,
        flipping.__code__.co_firstlineno + 4,
    )
    assert re.search(r"^flipping: \d+ of \d+ crashes made a difference\.", text)
    place = r"testing/test_crashes\.py:\d+"
    # Findings of a replay come first, with both places.
    assert re.search(
        r"\n\nWhen its node died .* \(checkpoint \d+\):\n"
        r"  crash-test is parked: NonDeterminismError: crash-test\.1: the history holds run "
        rf"(step|inner) \(called at {place}\), but the code now asks for run (inner|step) "
        rf"\(at {place}\)",
        text,
    )
    assert f"test_crashes.py:{first}" in text
    assert f"test_crashes.py:{second}" in text
    assert "Take time, random numbers and ids from ctx" in text


def test_a_step_whose_second_run_gives_something_else() -> None:
    charges: list[str] = []

    def charge(ctx: Context) -> int:
        charges.append(ctx.id)
        return len(charges)

    def checkout(ctx: Context) -> Generator[Any, Any, int]:
        return (yield from ctx.run(charge))

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere.on(before=charges.clear)(checkout)
    text = str(caught.value)
    place = rf"charge \(tests/unit/sdk/testing/test_crashes\.py:{charge.__code__.co_firstlineno}"
    called = rf"called at testing/test_crashes\.py:{checkout.__code__.co_firstlineno + 1}\)"
    assert re.fullmatch(
        r"checkout: 1 of 10 crashes made a difference\.\n"
        r"\nWhen its node died before the send of: the result of charge crash-test\.1 "
        r"\(checkpoint 3\):\n"
        r"  without a crash: 1\n"
        r"  with this one:   2\n"
        rf"  ran twice: {place}, {called}\n"
        r"\nWhat to do: a step whose node dies while it is under way runs again, .*"
        rf"ctx\.id as its idempotency key\. Look at:\n  {place}, {called}",
        text,
    ), text
    assert len(caught.value.failures) == 1
    assert caught.value.report.result == 1


def test_an_effect_that_is_doubled_fails_the_callers_own_check() -> None:
    def once() -> None:
        assert max(ledger.values()) == 1, f"charged more than once: {dict(ledger)}"

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere.on(runtime, before=ledger.clear, check=once)(steps, 1)
    text = str(caught.value)
    assert "steps: 1 of 10 crashes made a difference." in text
    assert "  the check after it failed: charged more than once: {'crash-test.1': 2}" in text
    assert "  ran twice: step (" in text


def test_an_idempotency_key_fixes_it() -> None:
    charged: dict[str, int] = {}

    def charge(ctx: Context) -> int:
        return charged.setdefault(ctx.id, len(charged) + 1)

    def checkout(ctx: Context) -> Generator[Any, Any, list[int]]:
        return [(yield from ctx.run(charge)), (yield from ctx.run(charge))]

    def each_once() -> None:
        assert charged == {"crash-test.1": 1, "crash-test.2": 2}

    report = crash_everywhere.on(before=charged.clear, check=each_once)(checkout)
    assert report.result == [1, 2]


def test_an_effect_between_the_steps() -> None:
    log: list[str] = []

    def prints(ctx: Context) -> Generator[Any, Any, int]:
        log.append("here")
        yield ctx.run(lambda _: None)
        return len(log)

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere.on(before=log.clear)(prints)
    text = str(caught.value)
    assert "code between the steps, which runs again in each replay" in text
    line = prints.__code__.co_firstlineno
    assert text.endswith(f"  prints (tests/unit/sdk/testing/test_crashes.py:{line})")


def test_a_difference_between_runs_is_not_blamed_on_the_crash() -> None:
    numbers = itertools.count()

    def counts(ctx: Context) -> Generator[Any, Any, int]:
        return (yield from ctx.run(lambda _: next(numbers)))

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere(counts)
    text = str(caught.value)
    assert "A second run without any crash differs from the first, too:\n  without" in text
    assert "Put it back before each one, with crash_everywhere.on(before=...)" in text
    loose = crash_everywhere.on(same=lambda one, other: type(one) is type(other))
    assert loose(counts).crashes == 10


def test_another_path_is_reported_where_it_begins() -> None:
    runs = itertools.count()

    def grows(ctx: Context) -> Generator[Any, Any, None]:
        for _ in range((yield from ctx.run(lambda _: next(runs)))):
            yield ctx.sleep(1)

    with pytest.raises(CrashTestError) as caught:
        crash_everywhere(grows)
    text = str(caught.value)
    assert "it took another path before the crash: checkpoint 4 was" in text
    assert "'the result of grows crash-test' in the first run" in text
    assert "is 'the call of sleep crash-test.2' now" in text


def test_a_stored_step_that_runs_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that forgets what it has stored."""

    def forget(*_: object) -> Reply:
        return Reply(200, promises=[])

    monkeypatch.setattr(MemoryEngine, "_preload", forget)
    with pytest.raises(CrashTestError) as caught:
        crash_everywhere(steps, 2)
    assert "stored steps ran again: crash-test.1" in str(caught.value)
