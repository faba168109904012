"""Drives routines by hand: a store of records, a clock that is told the time, no thread, no broker.

Promises that the outside settles get the values that `answer` returns, so that every run of a
program sees the same ones. The test decides when they are settled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Registry
from understudy.retry import Never
from understudy.values import Codec
from understudy_actors.errors import NonDeterminismError, UnreadableError
from understudy_actors.interpreter.outcome import Outcome
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.commands import PromiseCreate
from understudy_store.records import (
    EMPTY,
    HEADER_KIND,
    PENDING,
    REJECTED,
    RESOLVED,
    TAG_PARENT,
    TAG_SCOPE,
    PromiseRecord,
    Value,
)

START = 1_000_000
DAY_MS = 86_400_000
ROOT = "root"


def environment(*, pickle: bool = False) -> NodeEnvironment:
    codec = Codec(pickle=pickle)
    return NodeEnvironment(Registry(), codec, group="g", timeout_s=3600, retry=Never())


def root_record(timeout_at: int = START + DAY_MS) -> PromiseRecord:
    return PromiseRecord(ROOT, PENDING, Value({}), Value({}), {}, timeout_at, START)


def answer(env: NodeEnvironment, record: PromiseRecord) -> tuple[str, Value]:
    """Return state and value with which the outside settles a promise; one call in five fails."""
    if record.param.headers.get(HEADER_KIND) == "sleep":
        return RESOLVED, Value({})
    if random.Random(record.id).random() < 0.2:
        return REJECTED, Value({}, env.values.encode_error(RuntimeError(f"no {record.id}")))
    return RESOLVED, Value({}, env.values.encode_value(f"value of {record.id}", "it"))


def settled(record: PromiseRecord, state: Any, value: Value, at: int) -> PromiseRecord:
    return PromiseRecord(
        record.id, state, record.param, value, record.tags, record.timeout_at, record.created_at, at
    )


class Harness:
    """One activation: the routine of the root and those of its local calls.

    Parameters
    ----------
    records
        The history to begin with, as a preload would hold it.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *args: Any,
        env: NodeEnvironment | None = None,
        records: Iterable[PromiseRecord] = (),
        timeout_at: int = START + DAY_MS,
    ) -> None:
        self.env = env or environment()
        registry = self.env.registry
        function = registry.of(fn) or registry.register(fn)
        self.now = START
        self.promises = {record.id: record for record in records}
        #: the record as it was after each create and settle, in order
        self.log: list[PromiseRecord] = []
        self.results: list[StepResult] = []
        self.canceled: list[str] = []
        self.outcome: Outcome | None = None
        self.mismatch: NonDeterminismError | UnreadableError | None = None
        self.retry_after_s: float | None = None
        self.parents: dict[str, Routine] = {}
        self.root = Routine(
            self.env,
            function,
            root_record(timeout_at),
            origin=ROOT,
            branch=ROOT,
            data=self.env.values.encode_call(function, args, {}),
            history=self._children(ROOT),
        )
        self.runs = {ROOT: self.root}
        self.step(self.root)

    @property
    def awaited(self) -> list[str]:
        """Ids of which one must settle for the root to go on."""
        return self.root.calls.wake_on(self.root.wait)

    def _children(self, parent: str) -> list[PromiseRecord]:
        return [r for r in self.promises.values() if r.tags.get(TAG_PARENT, ROOT) == parent]

    def step(self, routine: Routine) -> None:
        """Step a routine, and those of the local calls that it starts."""
        self._perform(routine, routine.step(self.now))

    def _perform(self, routine: Routine, result: StepResult) -> None:
        self.results.append(result)
        for command in result.commands:
            if isinstance(command, PromiseCreate):
                self._create(command)
            else:
                self._settle(command.id, command.state, command.value)
        routine.answered(len(result.commands))
        if result.mismatch is not None:
            assert not result.commands, "a mismatch asks for nothing else"
            self.mismatch = result.mismatch
            return
        self.canceled += result.cancels
        self.retry_after_s = result.retry_after_s
        for start in result.locals:
            local = Routine(
                self.env,
                start.function,
                start.record,
                origin=ROOT,
                branch=ROOT,
                args=start.spec.args,
                kwargs=start.spec.kwargs,
                history=self._children(start.spec.id),
                time_ms=start.time_ms,
                variables=start.spec.variables,
            )
            self.runs[local.id] = local
            self.parents[local.id] = routine
            self.step(local)
        if result.done is not None and routine is self.root:
            self.outcome = result.done
        elif result.done is not None:
            del self.runs[routine.id]
            # Local calls settle at the same time in every replay.
            self._settle(routine.id, result.done.state, result.done.value, at=START + 1)
        elif routine.inbox or routine.runnable:
            self.step(routine)

    def _create(self, command: PromiseCreate) -> None:
        if command.id not in self.promises:
            record = PromiseRecord(
                command.id,
                PENDING,
                command.param,
                Value({}),
                command.tags,
                command.timeout_at,
                self.now,
            )
            self.promises[command.id] = record
            self.log.append(record)

    def _settle(self, id: str, state: Any, value: Value, at: int | None = None) -> None:
        record = self.promises[id]
        if not record.settled:
            record = self.promises[id] = settled(record, state, value, at or self.now)
            self.log.append(record)
        owner = self.parents.get(id) or self.runs.get(record.tags.get(TAG_PARENT, ROOT))
        if owner is not None:
            # A node tells of its own settle, which holds no param.
            is_local = id in self.parents
            owner.learn(msgspec.structs.replace(record, param=EMPTY) if is_local else record)
            if owner is not self.root or self.outcome is None:
                self.step(owner)

    def settle(self, id: str, at: int | None = None) -> None:
        """Settle a promise as the outside does."""
        self.now = max(self.now, at or self.now + 1)
        self._settle(id, *answer(self.env, self.promises[id]), at=self.now)

    def resolve(self, id: str, value: Any = None) -> None:
        self.now += 1
        self._settle(id, RESOLVED, Value({}, self.env.values.encode_value(value, "it")))

    def reject(self, id: str, error: BaseException) -> None:
        self.now += 1
        self._settle(id, REJECTED, Value({}, self.env.values.encode_error(error)))

    def open(self) -> list[str]:
        """Return the ids of pending promises that the outside settles, in the order of creation."""
        return [
            i
            for i, r in self.promises.items()
            if not r.settled and r.tags.get(TAG_SCOPE) != "local"
        ]

    def made(self) -> list[tuple[str, str]]:
        """Return (id, kind and function) of every promise."""
        return sorted((r.id, _call_of(r)) for r in self.promises.values())

    @property
    def result(self) -> Any:
        """The result of the function; raises the error that it raised."""
        if self.mismatch is not None:
            raise self.mismatch
        assert self.outcome is not None, "it has not ended"
        if self.outcome.state == RESOLVED:
            return self.env.values.decode_value(self.outcome.value.data)
        raise self.env.values.codec.decode_error(self.outcome.value.data)


def _call_of(record: PromiseRecord) -> str:
    headers = record.param.headers
    return f"{headers.get(HEADER_KIND)} {headers.get('fn', '')}"


def double(ctx: Any, n: int) -> int:
    return 2 * n


def creates(harness: Harness) -> list[PromiseCreate]:
    return [c for o in harness.results for c in o.commands if isinstance(c, PromiseCreate)]
