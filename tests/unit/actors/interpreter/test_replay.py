"""Replay: from any moment of a history, a function makes the same calls and ends the same way."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.actors.interpreter.harness import Harness, environment
from understudy_store.records import RESOLVED, PromiseRecord

Statement = tuple[Any, ...]

simple = st.one_of(
    st.sampled_from([("rfc",), ("rfi",), ("sleep",), ("promise",), ("detached",), ("unyielded",)]),
    st.sampled_from([("time",), ("random",), ("uuid",), ("lfc",), ("lfi",)]),
    st.tuples(st.just("await"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["all", "race"]), st.lists(st.integers(0, 3), min_size=1)),
    st.tuples(st.just("map"), st.integers(0, 4), st.sampled_from([None, 1, 2])),
)
nested = st.tuples(st.sampled_from(["call", "start"]), st.lists(simple, max_size=4))
programs = st.lists(st.one_of(simple, nested), max_size=8)


def leaf(_: Any, n: int) -> int:
    if n % 4 == 3:
        raise LookupError(f"no {n}")
    return n * n


def start(ctx: Any, what: str, n: int, program: Any = None) -> Any:
    """Return a request that gives a promise."""
    if what == "promise":
        return ctx.promise()
    if what == "lfi":
        return ctx.lfi(leaf, n)
    if what == "start":
        return ctx.lfi(perform, program)
    return ctx.rfi("f", n) if what == "rfi" else ctx.detached("f", n)


def perform(ctx: Any, program: list[Statement]) -> Generator[Any, Any, list[Any]]:
    """Carry out a program as a durable function, and return all values that it saw."""
    seen: list[Any] = []
    promises: list[Any] = []
    for n, (what, *rest) in enumerate(program):
        try:
            if what == "time":
                seen.append(ctx.time)
            elif what == "random":
                seen.append(ctx.random.random())
            elif what == "uuid":
                seen.append(str(ctx.uuid()))
            elif what == "unyielded":
                ctx.rfi("f", n)
            elif what in ("rfi", "lfi", "promise", "detached", "start"):
                promises.append((yield start(ctx, what, n, *rest)))
            elif what == "rfc":
                seen.append((yield ctx.rfc("f", n)))
            elif what == "lfc":
                seen.append((yield ctx.lfc(leaf, n)))
            elif what == "call":
                seen.append((yield ctx.lfc(perform, rest[0])))
            elif what == "sleep":
                seen.append((yield ctx.sleep(1)))
            elif what == "map":
                seen.append((yield ctx.map("f", range(rest[0]), window=rest[1])))
            elif promises and what == "await":
                seen.append((yield promises[rest[0] % len(promises)]))
            elif promises:
                chosen = [promises[i % len(promises)] for i in rest[0]]
                seen.append((yield ctx.all(chosen) if what == "all" else ctx.race(chosen)))
        except (RuntimeError, LookupError) as error:
            seen.append(repr(error))
    return seen


def play_on(harness: Harness, order: list[tuple[str, int]], rng: random.Random) -> None:
    """Settle all pending promises: first in the given order, then at random, to the end."""
    for id, at in order:
        if id in harness.promises and not harness.promises[id].settled:
            harness.settle(id, at)
    while harness.outcome is None:
        harness.settle(rng.choice(harness.open()))


@settings(max_examples=60, deadline=None)
@given(programs, st.integers(0, 2**32))
def test_every_prefix_of_a_history_replays_to_the_same_end(
    program: list[Statement], seed: int
) -> None:
    rng = random.Random(seed)
    env = environment()
    first = Harness(perform, program, env=env)
    play_on(first, [], rng)
    assert first.outcome is not None
    assert first.outcome.state == RESOLVED, first.outcome.error

    log = list(first.log)
    order = [(r.id, r.settled_at) for r in log if r.settled_at is not None]
    whole = first.made()
    for length in range(len(log) + 1):
        records: dict[str, PromiseRecord] = {}
        for record in log[:length]:
            records[record.id] = record
        again = Harness(perform, program, env=env, records=records.values())
        play_on(again, order, rng)
        assert again.result == first.result, f"after {length} of {len(log)}"
        assert again.made() == whole
        # Promises of the history were neither made again nor overwritten.
        assert not {r.id for r in again.log if not r.settled} & records.keys()
        for record in records.values():
            if record.settled:
                assert again.promises[record.id] is record


@settings(max_examples=30, deadline=None)
@given(programs)
def test_a_whole_history_is_replayed_without_a_single_command(program: list[Statement]) -> None:
    env = environment()
    first = Harness(perform, program, env=env)
    while first.outcome is None:
        first.settle(first.open()[0])
    while first.open():
        first.settle(first.open()[0])
    again = Harness(perform, program, env=env, records=first.promises.values())
    assert again.result == first.result
    assert not any(result.commands or result.locals for result in again.results)
