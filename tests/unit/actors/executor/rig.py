"""A rig for executors: runs without a node, whose promises are settled by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.unit.actors.interpreter.harness import (
    ROOT,
    START,
    answer,
    environment,
    root_record,
    settled,
)
from understudy.client.node_environment import NodeEnvironment
from understudy_actors.activation import Activation, Run, StepReport
from understudy_actors.executor import Results
from understudy_actors.interpreter.routine import Routine
from understudy_store.commands import PromiseCreate
from understudy_store.records import PENDING, PromiseRecord, Value


class ExecutorRig:
    """Makes runs, gathers the reports of their steps, and settles promises by hand."""

    def __init__(self) -> None:
        self.env: NodeEnvironment = environment()
        self.results = Results(self.wake)
        self.woken = threading.Event()
        self.seen: list[StepReport] = []

    def wake(self, _: bool) -> None:
        self.woken.set()

    def run(self, fn: Callable[..., Any], number: int = 0) -> Run:
        function = self.env.registry.of(fn) or self.env.registry.register(fn)
        record = root_record()
        data = self.env.values.encode_call(None, (number,), {})
        routine = Routine(self.env, function, record, origin=ROOT, branch=ROOT, data=data)
        run = Run(Activation(record, 1), routine, None)
        run.scheduled = True
        return run

    def take(self, count: int, timeout_s: float = 10.0) -> list[StepReport]:
        """Return the next `count` reports of steps that have ended, or wait for promises."""
        ends_at = time.monotonic() + timeout_s
        taken: list[StepReport] = []
        while len(taken) < count:
            assert self.woken.wait(ends_at - time.monotonic()), f"{len(taken)} of {count}"
            self.woken.clear()
            taken += [each for each in self.results.take() if each.final or each.waits]
        for report in taken:
            report.run.scheduled = False
        return taken

    def value(self, result: StepReport) -> Any:
        done = result.result.done
        assert done is not None
        if done.error is not None:
            raise done.error
        return self.env.values.decode_value(done.value.data)

    def settle(self, run: Run, result: StepReport) -> None:
        """Settle all promises that a step has created."""
        for command in result.result.commands:
            assert isinstance(command, PromiseCreate)
            record = PromiseRecord(
                command.id, PENDING, command.param, Value({}), {}, command.timeout_at, START
            )
            run.routine.learn(settled(record, *answer(self.env, record), START))
        run.routine.answered(len(result.result.commands))
        run.scheduled = True
