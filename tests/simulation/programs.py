"""Programs that the simulator plays, and their results when computed by plain Python.

A program is data: a list of operations, each ``[kind, number, inner programs, group]``, with a home
as a fifth element if what it makes lives elsewhere. The durable function `body` performs it with
`ctx`; `plain` computes the same by ordinary recursion. So every result of a simulated world can be
compared with one that no crash has affected.

There are two *releases* of the functions, with equal results. For the operation "leaf", `body`
calls another function in each, which the other release does not have, and in the second one it
performs a step more. Detached calls have other ids in each. Only the second release has version 2
of `leaf`. So a call that began under one release may need a node of it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Generator, Sequence
from functools import cache, partial
from typing import Any, Final, Protocol, TypeAlias

from understudy.client.node_environment import NodeEnvironment
from understudy.context import Context
from understudy.errors import DeadlineExceededError
from understudy.registry import Registry
from understudy.retry import Constant, Never
from understudy.values import Codec

#: The kind, a number, the inner programs, a group or "", and perhaps a home and more homes.
Operation: TypeAlias = list[Any]
Program: TypeAlias = list[Operation]

GROUPS: Final = ("g", "h")
#: The function that `body` calls for the operation "leaf", by release.
OWN_LEAVES: Final = ("single", "fresh")
LEAVES: Final = ("leaf", "step", "delayed", "flaky", "flaky step", "broken", "sleep", "late")
NESTED: Final = ("call", "here", "async", "fan", "fan here", "tree", "ahead", "race", "cut race")
SELDOM: Final = ("promise", "detached", "fib")
#: A call with an explicit id, which other places in the same call graph may make too.
SHARED: Final = "shared"
#: Operations whose promises may be put under another home.
AT_HOMES: Final = frozenset(
    {*LEAVES, *NESTED, *SELDOM, SHARED} - {"flaky step", "sleep", "here", "fan", "fan here"}
)
#: Operations that are not the same in each release. A history has only what is in the slot of its
#: task, so the other release would not be noticed elsewhere.
OF_RELEASES: Final = frozenset({"leaf", "detached"})
#: A race that is won by a leaf, against calls at several homes that only a cancel can end.
CUT_OFF: Final = "cut off"
#: What the ids of detached calls contain, by release.
OWN_LETTERS: Final = ("d", "e")
#: The duration of a durable sleep for each unit of its number.
SLEEP_UNIT_S: Final = 0.02


class Stage(Protocol):
    """The world as the functions see it: they report to it."""

    def performs(self, promise_id: str) -> None:
        """Note that a leaf is performed, which stands for a side effect."""

    def wants(self, promise_id: str, value: int) -> None:
        """Note that a promise waits for a person, to be settled with `value`."""

    def sleep_begins(self, place: str) -> None:
        """Note that a durable sleep begins, or is replayed."""

    def sleep_ends(self, place: str, ms: int) -> None:
        """Note that a durable sleep of `ms` is over."""

    def detaches(self, promise_id: str, program: Program) -> None:
        """Note that a detached call graph was begun."""


class _Cast:
    """Access to the current world for the functions; each process has one world at a time."""

    stage: Stage


CAST: Final = _Cast()


class Broken(Exception):
    """A function that always fails."""


class Flaky(Exception):
    """A function that fails the first few times."""


# The functions -----------------------------------------------------------------------------------


def leaf(ctx: Context, n: int) -> int:
    """Have one effect on the world."""
    CAST.stage.performs(ctx.id)
    return n + 1


def single(ctx: Context, n: int) -> int:
    """Do the same as `leaf`; only the first release has this function."""
    return leaf(ctx, n)


def fresh(ctx: Context, n: int) -> int:
    """Do the same as `leaf`; only the second release has this function."""
    return leaf(ctx, n)


def check(ctx: Context) -> None:
    """Perform the step that only the code of the second release has."""
    CAST.stage.performs(ctx.id)


def leaf_anew(ctx: Context, n: int) -> int:
    """Do the same, as version 2 of `leaf`."""
    return leaf(ctx, n)


def flaky(ctx: Context, n: int, failures: int) -> int:
    """Fail some times; the store or the activation counts the attempts."""
    CAST.stage.performs(ctx.id)
    if ctx.info.attempt <= failures:
        raise Flaky(f"attempt {ctx.info.attempt}")
    return n + 1


def broken(ctx: Context, n: int) -> int:
    """Fail in each attempt."""
    CAST.stage.performs(ctx.id)
    raise Broken(f"no {n}")


def fib(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Compute a Fibonacci number, with one branch in another process and one in this one."""
    if n < 2:
        return n
    there = yield ctx.rfi(fib, n - 1)
    here = yield ctx.lfi(fib, n - 2)
    return int((yield there) + (yield here))


def stranded(ctx: Context, homes: list[str]) -> Generator[Any, Any, Any]:
    """Wait for a promise that nobody settles, through a call at each of these homes."""
    if homes:
        return (yield ctx.rfc(stranded, homes[1:]).options(home=homes[0]))
    return (yield (yield ctx.promise()))


def body(ctx: Context, program: Program) -> Generator[Any, Any, list[Any]]:
    """Perform a program; return the result of each operation."""
    seen: list[Any] = []
    for place, operation in enumerate(program):
        try:
            if _is_checked(ctx, operation):
                yield ctx.lfc(check)
            play = _PLAYS.get(operation[0])
            if play is not None:
                seen.append((yield from play(ctx, place, operation)))
            else:
                seen.append((yield _request(ctx, operation)))
        except Broken as error:
            seen.append(str(error))
        except DeadlineExceededError:
            seen.append("late")
    return seen


async def async_body(ctx: Context, program: Program) -> list[Any]:
    """Perform a program whose operations are one request each."""
    seen: list[Any] = []
    for operation in program:
        try:
            if _is_checked(ctx, operation):
                await ctx.lfc(check)
            seen.append(await _request(ctx, operation))
        except Broken as error:
            seen.append(str(error))
    return seen


def _is_checked(ctx: Context, operation: Operation) -> bool:
    """Return whether the code of this release performs a step more before the operation."""
    release: int = ctx.get_dependency("release")
    return operation[0] == "leaf" and release == 1


def _request(ctx: Context, operation: Operation) -> Any:
    kind, n, inner, group = operation[:4]
    home = _home(operation)
    if kind == "leaf":
        return _to(ctx.rfc(OWN_LEAVES[ctx.get_dependency("release")], n), group, home)
    if kind == "step":
        step = ctx.lfc(leaf, n)
        return step.options(id=f"{home}.{ctx.id}.s{n}") if home else step
    if kind == "delayed":
        latest = leaf_anew if ctx.get_dependency("release") else leaf
        call = ctx.rfc(latest, n).options(delay=n * SLEEP_UNIT_S, priority=n - 5)
        # The node is preferred, but the call does not wait for it.
        return _to(call, f"poll://any@{group or GROUPS[0]}/n1", home)
    if kind == "flaky":
        call = _to(ctx.rfc(flaky, n, n % 3), group, home)
        return call.options(retry=Constant(0.01 * n, max_attempts=3))
    if kind == "flaky step":
        return ctx.lfc(flaky, n, n % 3).options(retry=Constant(0.01 * n, max_attempts=3))
    if kind == SHARED:
        root = home or ctx.id.partition(".")[0]
        return ctx.rfc(leaf, n).options(id=f"{root}.x{n}", target=GROUPS[0])
    if kind == "broken":
        return _to(ctx.rfc(broken, n), group, home).options(retry=Never())
    if kind == "call":
        return _to(ctx.rfc(body, inner[0]), group, home)
    if kind == "here":
        return ctx.lfc(body, inner[0])
    if kind == "async":
        return _to(ctx.rfc(async_body, _simple(inner[0])), group, home)
    if kind == "fan":
        return ctx.map(body, inner, window=2, target=group or None)
    if kind == "fan here":
        return ctx.all([ctx.lfi(body, each) for each in inner])
    if kind == "tree":
        return ctx.all(
            [
                _to(ctx.rfi(body, each), group, home if place % 2 == 0 else "")
                for place, each in enumerate(inner)
            ]
        )
    if kind == "race":
        return ctx.race([_to(ctx.rfi(leaf, n), group, home), ctx.lfi(leaf, n)])
    if kind == CUT_OFF:
        waits = ctx.rfi(stranded, operation[5]).options(home=home)
        return ctx.race([_to(ctx.rfi(leaf, n), group), waits], cancel=True)
    if kind == "cut race":
        return ctx.race([_to(ctx.rfi(leaf, n), group, home), ctx.rfi(leaf, n)], cancel=True)
    assert kind == "fib", kind
    return _to(ctx.rfc(fib, n % 4), group, home)


def _home(operation: Operation) -> str:
    """Return where the promise of an operation lives; "": with its caller."""
    return operation[4] if len(operation) > 4 else ""


def _to(call: Any, group: str, home: str = "") -> Any:
    if group:
        call = call.options(target=group)
    return call.options(home=home) if home else call


def _promise(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    del place
    promise = yield _to(ctx.promise(), "", _home(operation))
    CAST.stage.wants(promise.id, operation[1] + 100)
    return (yield promise)


def _sleep(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    sleep_place = f"{ctx.id} {place}"
    CAST.stage.sleep_begins(sleep_place)
    value = yield ctx.sleep(operation[1] * SLEEP_UNIT_S)
    CAST.stage.sleep_ends(sleep_place, int(operation[1] * SLEEP_UNIT_S * 1000))
    return value


def _late(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    del place
    timeout_s = 0.01 + operation[1] * SLEEP_UNIT_S
    promise = yield _to(ctx.promise(timeout=timeout_s), "", _home(operation))
    return (yield promise)


def _detached(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, None]:
    release: int = ctx.get_dependency("release")
    id_ = f"{ctx.id}.{OWN_LETTERS[release]}{place}"
    if home := _home(operation):
        id_ = f"{home}.{id_}"
    program = operation[2][0]
    CAST.stage.detaches(id_, program)
    yield _to(ctx.detached(body, program), operation[3]).options(id=id_)


def _ahead(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, list[Any]]:
    """Make calls that run while this function does something else."""
    del place
    promises: list[Any] = []
    for inner in operation[2]:
        promise = yield _to(ctx.rfi(body, inner), operation[3], _home(operation))
        promises.append(promise)
    values = [(yield ctx.lfc(leaf, operation[1]))]
    for promise in reversed(promises):
        value = yield promise
        values.append(value)
    return values


_PLAYS: Final = {
    "promise": _promise,
    "sleep": _sleep,
    "late": _late,
    "detached": _detached,
    "ahead": _ahead,
}
_SIMPLE: Final = frozenset(("leaf", "step", "delayed", "flaky", "flaky step", "broken", "fib"))


def _simple(program: Program) -> Program:
    return [operation for operation in program if operation[0] in _SIMPLE]


# The reference -----------------------------------------------------------------------------------


def plain(program: Program) -> list[Any]:
    """Compute the result of the program without anything durable."""
    return [_plainly(*operation[:3]) for operation in program]


def _plainly(kind: str, n: int, inner: list[Program]) -> Any:
    if kind in (
        "leaf",
        "step",
        "delayed",
        "flaky",
        "flaky step",
        "race",
        "cut race",
        CUT_OFF,
        SHARED,
    ):
        return n + 1
    if kind == "broken":
        return f"no {n}"
    if kind in ("call", "here"):
        return plain(inner[0])
    if kind == "async":
        return plain(_simple(inner[0]))
    if kind in ("fan", "fan here", "tree"):
        return [plain(each) for each in inner]
    if kind == "ahead":
        return [n + 1, *[plain(each) for each in reversed(inner)]]
    if kind == "fib":
        return _fib(n % 4)
    return {"promise": n + 100, "late": "late", "sleep": None, "detached": None}[kind]


def _fib(n: int) -> int:
    return n if n < 2 else _fib(n - 1) + _fib(n - 2)


# Making them -------------------------------------------------------------------------------------


def make(rng: random.Random, depth: int, budget: int, *, shared: bool) -> Program:
    """Make a random program of about `budget` operations, nested at most `depth` times.

    If `shared`, several places may make calls with the same id.
    """
    program: Program = []
    leaves = (*LEAVES, SHARED, SHARED) if shared else LEAVES
    while budget > 0 and len(program) < 4:
        at = rng.random()
        kinds = leaves if depth == 0 or budget < 2 else (*leaves, *NESTED, *NESTED, *SELDOM)
        kind = kinds[int(at * len(kinds))]
        budget -= 1
        inner: list[Program] = []
        if depth and (kind in NESTED or kind == "detached"):
            many = 1 + int(rng.random() * 3) if kind in ("fan", "fan here", "tree", "ahead") else 1
            share = max(1, budget // (many + 1))
            inner = [make(rng, depth - 1, share, shared=shared) for _ in range(many)]
            budget -= many * share
        group = GROUPS[1] if rng.random() < 0.25 else ""
        number = int(rng.random() * (3 if kind == SHARED else 10))
        program.append([kind, number, inner, group])
        if rng.random() < 0.2:
            break
    return program


def spread(
    rng: random.Random, program: Program, homes: Sequence[str], kinds: Collection[str] = AT_HOMES
) -> None:
    """Let some of the operations of a program, of these kinds, make promises at other homes."""
    for place, operation in enumerate(program):
        if operation[0] in kinds and rng.random() < 0.5:
            home = homes[int(rng.random() * len(homes))]
            # A step has an id of its own, and so may not be like another of its program.
            operation.append(f"{home}.{place}" if operation[0] == "step" else home)
        for inner in operation[2]:
            spread(rng, inner, homes, kinds)


def environment(release: int) -> NodeEnvironment:
    """Make the functions, codec and defaults. They have no state, so all worlds share them."""
    registry = Registry()
    for function in (
        leaf,
        flaky,
        broken,
        fib,
        stranded,
        body,
        async_body,
        (single, fresh)[release],
    ):
        registry.register(function)
    if release:
        registry.register(leaf_anew, name="leaf", version=2)
    return NodeEnvironment(registry, Codec(), group=GROUPS[0], timeout_s=36_000, retry=Never())


@cache
def environment_of(group: str, release: int = 0) -> NodeEnvironment:
    """Return the environment of a node; a call without a target goes to its own group."""
    made = environment(release)
    made.set_dependency("release", release)
    made.join(group)
    made.warn = partial(_no_warning)  # type: ignore[method-assign]
    return made


def _no_warning(text: str) -> None:
    """Ignore warnings, because short sleeps near a deadline are intended here."""
