"""Commands of a node's runs on their way to the store, and what the answers mean. Pure."""

from __future__ import annotations

from functools import partial
from typing import Any

from understudy_actors.activation import Activation, Phase, Run
from understudy_actors.errors import CommandError
from understudy_actors.interpreter.step_result import ChildCommand
from understudy_actors.node import fences
from understudy_actors.node.state import NodeState, RunCommands
from understudy_broker.protocol.messages import (
    PromiseWatch,
    Refused,
    Response,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    TaskFence,
    TaskFulfill,
)
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    REJECTED,
    TAG_BRANCH,
    PromiseRecord,
    Value,
)


class Fencing(NodeState):
    """Fences, and the end of a task."""

    def _fence(self, run: Run, commands: list[ChildCommand], *, counted: bool = True) -> None:
        """Send commands of a run; `counted`: its flow control knows of them."""
        asked = self._fences.get(run)
        if asked is None:
            asked = self._fences[run] = RunCommands()
        (asked.counted if counted else asked.others).extend(commands)
        if not self._gathering:
            self._send_fences()

    def _send_fences(self) -> None:
        """Send what was gathered, before anything that must come after it."""
        gathered, self._fences = self._fences, {}
        for run, asked in gathered.items():
            if self.activations.get(run.activation.id) is run.activation:
                self._send_fence(run, asked)

    def _send_fence(self, run: Run, asked: RunCommands) -> None:
        activation = run.activation
        config = self.config
        commands = asked.counted + asked.others
        uncounted = len(asked.counted)
        for batch in fences.batches(commands, config.fence_commands_max, config.fence_bytes_max):
            counted = min(uncounted, len(batch))
            uncounted -= counted

            def on_reply(
                answer: Response | Refused,
                batch: tuple[ChildCommand, ...] = batch,
                counted: int = counted,
            ) -> None:
                self._fenced(run, batch, answer, counted)

            activation.fences_open += 1
            self.broker.request(TaskFence(activation.id, activation.version, batch), on_reply)

    def _fenced(
        self,
        run: Run,
        batch: tuple[ChildCommand, ...],
        answer: Response | Refused,
        counted: int,
    ) -> None:
        activation = run.activation
        activation.fences_open -= 1
        if self.activations.get(activation.id) is not activation:
            return
        if isinstance(answer, Refused) or not answer.reply.ok:
            self._refused(activation, answer)
            return
        reply = answer.reply
        values = self.env.values
        for command, inner in zip(batch, reply.replies or [None] * len(batch), strict=True):
            if inner is None:
                if command.__class__ is PromiseSettle:
                    self._tell(run, fences.settled_by(command, reply))
            elif not inner.ok:
                if command.__class__ is PromiseSettle and inner.status == 413:
                    error = values.encode_error(CommandError(413, f"{command.id}: {inner.error}"))
                    settle = PromiseSettle(command.id, REJECTED, Value({}, error))
                    self._fence(run, [settle], counted=False)
                else:
                    self._tell(run, fences.refused(command, inner, values))
            elif inner.promise is not None:
                self._found(run, command, inner.promise)
        routine = run.routine
        paused = routine.paused
        routine.answered(counted)
        if paused and not routine.paused and not run.scheduled:
            self._wake(activation)
            self._schedule(run)

    def _found(self, run: Run, command: Any, record: PromiseRecord) -> None:
        """There was a promise under that id already."""
        if command.__class__ is PromiseCreate:
            wrong = fences.mismatch(command, record, self.env.values)
            if wrong is not None:
                self._tell(run, wrong)
                return
        if record.settled:
            self._tell(run, record)
        elif record.tags.get(TAG_BRANCH) != run.activation.id:
            self._strangers.setdefault(record.id, []).append(run)
            self._watch(record.id)

    def _watch(self, id: str) -> None:
        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response):
                for record in answer.reply.promises or ():
                    self.learn(record)

        self.broker.request(PromiseWatch((id,)), on_reply)

    def _fulfill(
        self, activation: Activation, state: str, value: Value, *, last: bool = False
    ) -> None:
        """Settle the task. A value that is refused becomes an error; `last`: it is one already."""
        self._send_fences()
        self._leave_running(activation)
        activation.phase = Phase.ENDING
        fulfill = TaskFulfill(activation.id, activation.version, state, value)
        self.broker.request(fulfill, partial(self._fulfilled, activation, value, last))

    def _fulfilled(
        self, activation: Activation, value: Value, last: bool, answer: Response | Refused
    ) -> None:
        if self.activations.get(activation.id) is not activation:
            return
        status, text = _status(answer)
        if status not in (400, 413):
            self._drop(activation)
        elif not last:
            name = activation.promise.param.headers.get(HEADER_FUNCTION, activation.id)
            self._fulfill_error(activation, CommandError(status, f"the result of {name}: {text}"))
        elif value.data is not None:
            self._fulfill(activation, REJECTED, EMPTY, last=True)
        else:
            self._drop(activation)

    def _fulfill_error(self, activation: Activation, error: Exception) -> None:
        value = Value({}, self.env.values.encode_error(error))
        self.failed += 1
        self._fulfill(activation, REJECTED, value, last=True)

    def _refused(self, activation: Activation, answer: Response | Refused) -> None:
        """The broker would not take what an activation asked for as a whole."""
        status, text = _status(answer)
        if status in (404, 409):
            self._lose(activation, text or "the lease was lost")
        else:
            # the lease is still ours, so nobody else would ever end it
            self._fulfill_error(activation, CommandError(status, f"{activation.id}: {text}"))


def _status(answer: Response | Refused) -> tuple[int, str]:
    """What an answer says went wrong."""
    if isinstance(answer, Refused):
        return answer.status, answer.error
    return answer.reply.status, answer.reply.error or ""


def ignore(answer: Response | Refused) -> None:
    """A release or a cancel that is refused has been overtaken; there is nothing left to do."""
