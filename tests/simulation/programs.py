"""Programs that the simulator plays, and what each comes to when it is run as plain Python.

A program is data: a list of operations, each ``[kind, number, inner programs, group]``. The durable
function `body` performs it with `ctx`; `plain` works out the same as ordinary recursion. So every
result of a simulated world can be compared with one that no crash has touched.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from understudy.client.node_environment import NodeEnvironment
from understudy.context import Context
from understudy.errors import DeadlineExceededError
from understudy.registry import Registry
from understudy.retry import Constant, Never
from understudy.values import Codec

#: [kind, number, programs inside, group or ""]
Operation: TypeAlias = list[Any]
Program: TypeAlias = list[Operation]

GROUPS: Final = ("g", "h")
LEAVES: Final = ("leaf", "step", "delayed", "flaky", "flaky step", "broken", "sleep", "late")
NESTED: Final = ("call", "here", "async", "fan", "fan here", "tree", "ahead", "race", "cut race")
SELDOM: Final = ("promise", "detached", "fib")
#: a call under an id of its own, which other places in the same call graph may make too
SHARED: Final = "shared"
#: a durable pause is this long for each unit of its number
SLEEP_UNIT_S: Final = 0.02


class Stage(Protocol):
    """Reports of the functions to the world that they run in."""

    def performs(self, promise_id: str) -> None:
        """A leaf is being performed: a side effect, as far as anyone outside can tell."""

    def wants(self, promise_id: str, value: int) -> None:
        """A promise waits for a person, who will settle it with `value`."""

    def lies_down(self, place: str) -> None:
        """A durable pause begins, or is replayed."""

    def wakes(self, place: str, ms: int) -> None:
        """A durable pause of `ms` is over."""

    def detaches(self, promise_id: str, program: Program) -> None:
        """A call graph of its own was begun."""


class _Cast:
    """Gives the functions the world that plays them; there is one at a time in each process."""

    stage: Stage


CAST: Final = _Cast()


class Broken(Exception):
    """A function that always fails."""


class Flaky(Exception):
    """A function that fails the first few times."""


# The functions -----------------------------------------------------------------------------------


def leaf(ctx: Context, n: int) -> int:
    """One effect on the world."""
    CAST.stage.performs(ctx.id)
    return n + 1


def flaky(ctx: Context, n: int, failures: int) -> int:
    """Fails so many times; attempts are counted by the store, or in the activation."""
    CAST.stage.performs(ctx.id)
    if ctx.info.attempt <= failures:
        raise Flaky(f"attempt {ctx.info.attempt}")
    return n + 1


def broken(ctx: Context, n: int) -> int:
    """Fails for good."""
    CAST.stage.performs(ctx.id)
    raise Broken(f"no {n}")


def fib(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Recursion: one branch in another process, one here."""
    if n < 2:
        return n
    there = yield ctx.rfi(fib, n - 1)
    here = yield ctx.lfi(fib, n - 2)
    return int((yield there) + (yield here))


def body(ctx: Context, program: Program) -> Generator[Any, Any, list[Any]]:
    """Perform a program; what each operation gave."""
    seen: list[Any] = []
    for place, operation in enumerate(program):
        try:
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
    """The same for operations that are one request each."""
    seen: list[Any] = []
    for operation in program:
        try:
            seen.append(await _request(ctx, operation))
        except Broken as error:
            seen.append(str(error))
    return seen


def _request(ctx: Context, operation: Operation) -> Any:
    kind, n, inner, group = operation
    if kind == "leaf":
        return _to(ctx.rfc(leaf, n), group)
    if kind == "step":
        return ctx.lfc(leaf, n)
    if kind == "delayed":
        call = ctx.rfc(leaf, n).options(delay=n * SLEEP_UNIT_S, priority=n - 5)
        # preferred, but not waited for
        return call.options(target=f"poll://any@{group or GROUPS[0]}/n1")
    if kind == "flaky":
        call = _to(ctx.rfc(flaky, n, n % 3), group)
        return call.options(retry=Constant(0.01 * n, max_attempts=3))
    if kind == "flaky step":
        return ctx.lfc(flaky, n, n % 3).options(retry=Constant(0.01 * n, max_attempts=3))
    if kind == SHARED:
        return ctx.rfc(leaf, n).options(id=f"{ctx.id.partition('.')[0]}.x{n}", target=GROUPS[0])
    if kind == "broken":
        return _to(ctx.rfc(broken, n), group).options(retry=Never())
    if kind == "call":
        return _to(ctx.rfc(body, inner[0]), group)
    if kind == "here":
        return ctx.lfc(body, inner[0])
    if kind == "async":
        return _to(ctx.rfc(async_body, _simple(inner[0])), group)
    if kind == "fan":
        return ctx.map(body, inner, window=2, target=group or None)
    if kind == "fan here":
        return ctx.all([ctx.lfi(body, each) for each in inner])
    if kind == "tree":
        return ctx.all([_to(ctx.rfi(body, each), group) for each in inner])
    if kind == "race":
        return ctx.race([_to(ctx.rfi(leaf, n), group), ctx.lfi(leaf, n)])
    if kind == "cut race":
        return ctx.race([_to(ctx.rfi(leaf, n), group), ctx.rfi(leaf, n)], cancel=True)
    assert kind == "fib", kind
    return _to(ctx.rfc(fib, n % 4), group)


def _to(call: Any, group: str) -> Any:
    return call.options(target=group) if group else call


def _promise(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    del place
    promise = yield ctx.promise()
    CAST.stage.wants(promise.id, operation[1] + 100)
    return (yield promise)


def _sleep(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    bed = f"{ctx.id} {place}"
    CAST.stage.lies_down(bed)
    value = yield ctx.sleep(operation[1] * SLEEP_UNIT_S)
    CAST.stage.wakes(bed, int(operation[1] * SLEEP_UNIT_S * 1000))
    return value


def _late(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, Any]:
    del place
    promise = yield ctx.promise(timeout=0.01 + operation[1] * SLEEP_UNIT_S)
    return (yield promise)


def _detached(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, None]:
    id_ = f"{ctx.id}.d{place}"
    program = operation[2][0]
    CAST.stage.detaches(id_, program)
    yield _to(ctx.detached(body, program), operation[3]).options(id=id_)


def _ahead(ctx: Context, place: int, operation: Operation) -> Generator[Any, Any, list[Any]]:
    """Calls that are under way while this function does something else."""
    del place
    promises: list[Any] = []
    for inner in operation[2]:
        promise = yield _to(ctx.rfi(body, inner), operation[3])
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
    """Compute the result of the program, with nothing durable about it."""
    return [_plainly(*operation[:3]) for operation in program]


def _plainly(kind: str, n: int, inner: list[Program]) -> Any:
    if kind in ("leaf", "step", "delayed", "flaky", "flaky step", "race", "cut race", SHARED):
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
    """A random program of about `budget` operations in all, nested at most `depth` times.

    `shared`: with calls of one id from several places.
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


def environment() -> NodeEnvironment:
    """Functions, codec and defaults, shared by all nodes of all worlds: it keeps no state."""
    registry = Registry()
    for function in (leaf, flaky, broken, fib, body, async_body):
        registry.register(function)
    return NodeEnvironment(registry, Codec(), group=GROUPS[0], timeout_s=36_000, retry=Never())


#: one for each group, since a call that names no target goes to its own
ENVIRONMENTS: Final[dict[str, NodeEnvironment]] = {}


def environment_of(group: str) -> NodeEnvironment:
    """The environment of a node of `group`."""
    found = ENVIRONMENTS.get(group)
    if found is None:
        found = ENVIRONMENTS[group] = environment()
        found.join(group)
        found.warn = partial(_no_warning)  # type: ignore[method-assign]
    return found


def _no_warning(text: str) -> None:
    """Short sleeps near a deadline are meant here."""
