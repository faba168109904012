"""A run of an async function, played by hand: its calls settle when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import ROOT, START, answer, root_record, settled
from understudy.retry import Retry
from understudy_actors.activation import Activation, Run, StepReport
from understudy_actors.executor import AsyncLoop
from understudy_actors.interpreter.ports import LoopName
from understudy_actors.interpreter.routine import Routine
from understudy_store.commands import PromiseCreate
from understudy_store.records import PENDING, PromiseRecord, Value


class Player:
    """Plays the node and the world for one run: settles what the run asks for, when told to."""

    def __init__(
        self,
        rig: ExecutorRig,
        name: LoopName,
        fn: Callable[..., Any],
        *args: Any,
        history: list[PromiseRecord] | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.rig = rig
        registry = rig.env.registry
        function = registry.of(fn) or registry.register(fn, loop=name, retry=retry)
        record = root_record()
        data = rig.env.values.encode_call(None, args, {})
        self.routine = Routine(
            rig.env, function, record, origin=ROOT, branch=ROOT, data=data, history=history
        )
        self.run = Run(Activation(record, 1), self.routine, None)
        self.loop = AsyncLoop(rig.results, lambda: START, name=name, hold_turns=50)
        self.promises = {record.id: record for record in history or ()}
        self.pending = [r.id for r in self.promises.values() if r.state == PENDING]
        self.waits = False
        self.answers = True
        self.ended: StepReport | None = None
        self.loop.submit(self.run)

    def turn(self, *, timeout_s: float = 10.0) -> list[StepReport]:
        """Take in the reports that there are, at least one."""
        reports: list[StepReport] = eventually(self.rig.results.take, timeout_s)
        for report in reports:
            for command in report.result.commands:
                assert isinstance(command, PromiseCreate)
                assert command.id not in self.promises, f"{command.id} is made twice"
                self.promises[command.id] = PromiseRecord(
                    command.id, PENDING, command.param, Value({}), {}, command.timeout_at, START
                )
                self.pending.append(command.id)
            if self.answers and report.result.commands:
                self.routine.answered(len(report.result.commands))
            self.waits = report.waits
            if report.final:
                self.ended = report
                if report.result.done is None and self.routine.inbox:
                    self._step()
        return reports

    def turn_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.turn()

    def settle(self, id: str, at: int = START) -> None:
        self.pending.remove(id)
        record = self.promises[id]
        self.promises[id] = settled(record, *answer(self.rig.env, record), at)
        self.routine.learn(self.promises[id])
        if self.ended is not None:
            self._step()

    def _step(self) -> None:
        self.ended = None
        self.loop.submit(self.run)

    @property
    def value(self) -> Any:
        assert self.ended is not None
        return self.rig.value(self.ended)

    def at_end(self) -> bool:
        """Whether the step has ended."""
        return self.ended is not None

    def is_done(self) -> bool:
        """Whether the function has settled."""
        return self.ended is not None and self.ended.result.done is not None

    def stop(self) -> None:
        self.routine.dropped = True
        self.loop.close(self.run)
        self.loop.stop()
        self.rig.results.take()
        for thread in self.loop.threads:
            thread.join(10)
            assert not thread.is_alive()


Play = Callable[..., Player]


async def gather(name: LoopName, *functions: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run async functions in tasks, in the manner of the loop; return their results."""
    if name == "asyncio":
        return list(await asyncio.gather(*(function() for function in functions)))
    results: list[Any] = [None] * len(functions)

    async def put(place: int) -> None:
        results[place] = await functions[place]()

    async with trio.open_nursery() as nursery:
        for place in range(len(functions)):
            nursery.start_soon(put, place)
    return results
