"""Fences: the commands of a node's runs on their way to the store, and the end of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeVar

from understudy_actors.activation import Activation, Phase, Run
from understudy_actors.error_classes import error_class
from understudy_actors.errors import CommandError, NonDeterminismError, refused
from understudy_actors.interpreter.ports import Values
from understudy_actors.interpreter.step_result import ChildCommand
from understudy_actors.node import fence_replies
from understudy_actors.node.causes import printable
from understudy_actors.node.ports import BrokerPort
from understudy_actors.node.settlements import Settlements
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import Refused, Response
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSettle,
    Reply,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
)
from understudy_store.records import (
    EMPTY,
    HEADER_ERROR,
    HEADER_FUNCTION,
    REJECTED,
    TAG_BRANCH,
    PromiseRecord,
    SettleState,
    Value,
)
from understudy_store.slots import slot_of

T = TypeVar("T")

#: how long a task waits that is given back because an identity is over its quota
QUOTA_DELAY_MS: Final = 2_000
#: pause before a task is offered again that the broker did not let this node park
UNPARKED_DELAY_MS: Final = 60_000

Batch = tuple[ChildCommand, ...]


class _RunCommands:
    """Commands of one run that go into the same fence: first those that its flow control counts."""

    __slots__ = ("counted", "others")

    def __init__(self) -> None:
        self.counted: list[ChildCommand] = []
        self.others: list[ChildCommand] = []


class Fencing:
    """Sends commands under the version of their task, and acts on the replies.

    While several step results are taken in, the commands of each run are gathered into one fence.
    """

    def __init__(self, state: NodeState, link: BrokerPort, settlements: Settlements) -> None:
        self._state = state
        self._link = link
        self._settlements = settlements
        self._gathered: dict[Run, _RunCommands] = {}
        self._gathering = False

    def gather(self, act: Callable[[T], None], events: Iterable[T]) -> None:
        """Call `act` for each event, and send the commands of all of them together at the end.

        They are sent earlier if something must come after them.
        """
        self._gathering = True
        try:
            for event in events:
                act(event)
        finally:
            self._gathering = False
            if self._gathered:
                self.send()

    def add(self, run: Run, commands: list[ChildCommand], *, counted: bool = True) -> None:
        """Send commands of a run.

        Parameters
        ----------
        counted
            The run's flow control counts them as sent, so it must hear of the answers.
        """
        gathered = self._gathered.get(run)
        if gathered is None:
            gathered = self._gathered[run] = _RunCommands()
        (gathered.counted if counted else gathered.others).extend(commands)
        if not self._gathering:
            self.send()

    def send(self) -> None:
        """Send the commands gathered so far, before anything that must come after them."""
        gathered, self._gathered = self._gathered, {}
        for run, commands in gathered.items():
            if not run.activation.dropped:
                self._send_run(run, commands)

    def _send_run(self, run: Run, gathered: _RunCommands) -> None:
        activation, config = run.activation, self._state.config
        commands = gathered.counted + gathered.others
        uncounted = len(gathered.counted)
        for batch in _batches(commands, config.fence_commands_max, config.fence_bytes_max):
            counted = min(uncounted, len(batch))
            uncounted -= counted
            activation.requests_open += 1
            activation.fences_open[id(batch)] = batch
            self._link.request(
                TaskFence(activation.id, activation.version, batch),
                partial(self._on_fence_reply, run, batch, counted),
            )

    def _on_fence_reply(
        self, run: Run, batch: Batch, counted: int, answer: Response | Refused
    ) -> None:
        activation = run.activation
        activation.requests_open -= 1
        del activation.fences_open[id(batch)]
        if activation.dropped:
            return
        if isinstance(answer, Refused) or not answer.reply.ok:
            self.on_refused(activation, answer)
            return
        if activation.held_cancels:
            self._cancel_held(activation, batch)
        reply = answer.reply
        replies: Sequence[Reply | None] = reply.replies or [None] * len(batch)
        created_elsewhere: list[str] = []
        trace = run.routine.trace
        unanswered = () if trace is None else trace.unanswered
        for command, inner in zip(batch, replies, strict=True):
            if trace is not None and command.id in unanswered:
                trace.answered(command.id, _refusal(inner))
            if inner is not None and inner.status == 201 and inner.promise is None:
                created_elsewhere.append(command.id)
            elif inner is not None:
                self._on_command_reply(run, command, inner)
            elif isinstance(command, PromiseSettle):
                self._settlements.tell(run, fence_replies.settled_by(command, reply))
            if activation.held_starts and isinstance(command, PromiseCreate):
                self._start_held(activation, command, inner)
        if created_elsewhere:
            # Their brokers do not know who holds this task.
            self._settlements.watch_for(run, created_elsewhere)
        routine = run.routine
        paused = routine.paused
        routine.answered(counted)
        if paused and not routine.paused and not run.scheduled:
            self._state.wake(activation)
            self._state.schedule(run)

    def _start_held(
        self, activation: Activation, create: PromiseCreate, reply: Reply | None
    ) -> None:
        """Start a step that has waited for its create, unless its id is another's, or settled."""
        start = activation.held_starts.pop(create.id, None)
        if start is None or activation.phase is Phase.ENDING:
            return
        if reply is not None:
            found = reply.promise
            taken = found and (found.settled or fence_replies.conflict(create, found))
            if taken or not reply.ok:
                return
        self._state.wake(activation)
        start()

    def _on_command_reply(self, run: Run, command: ChildCommand, reply: Reply) -> None:
        """Act on the reply to one command, which is not the expected one."""
        values = self._state.env.values
        if reply.ok:
            if reply.promise is not None:
                self._on_found(run, command, reply.promise)
        elif isinstance(command, PromiseSettle) and reply.status == 413:
            # The result of a local step is too large: the step fails instead.
            value = failed_value(values, CommandError(413, f"{command.id}: {reply.error}"))
            settle = PromiseSettle(command.id, REJECTED, value)
            self.add(run, [settle], counted=False)
        else:
            if isinstance(command, PromiseSettle) and reply.status == 404:
                # The create of this step was refused, which is the reason, and was told.
                return
            self._refuse(run, command, refused(reply.status, reply.error or "refused"))

    def _refuse(self, run: Run, command: ChildCommand, error: CommandError) -> None:
        """Log that the store refuses a call, and fail whoever waits for it, else its maker."""
        error = fence_replies.explained(command, error)
        routine = run.routine
        if self._state.log is not None:
            self._state.log(f"{routine.function.name} {routine.id}: {error}")
        routine.replay.refuse(command.id, error)
        failed = fence_replies.failed(command.id, error, self._state.env.values)
        self._settlements.tell(run, failed)

    def _on_found(self, run: Run, command: ChildCommand, record: PromiseRecord) -> None:
        """Go on with a promise that existed already under the id of a command."""
        if isinstance(command, PromiseCreate):
            wrong = fence_replies.conflict(command, record)
            if isinstance(wrong, NonDeterminismError):
                self.park(run.activation, str(wrong))
                return
            if wrong is not None:
                self._refuse(run, command, wrong)
                return
        task_id = run.activation.id
        if record.settled:
            self._settlements.tell(run, record)
        elif record.tags.get(TAG_BRANCH) != task_id or slot_of(record.id) != slot_of(task_id):
            self._settlements.watch_for(run, (record.id,))

    # Cancels -------------------------------------------------------------------------------------

    def cancel(self, activation: Activation, id: str) -> None:
        """Cancel a promise, in its order among the requests about the task.

        In another slot that order is not kept. So it waits for the answer to a create of that
        promise, which it may not overtake. And the task is not suspended before the cancel is
        answered: once it is, a cancel that ends with this process would be made by nobody.
        """
        if slot_of(id) == slot_of(activation.id):
            self._link.request(PromiseCancel(id), ignore_reply)
            return
        if any(_creates(batch, id) for batch in activation.fences_open.values()):
            activation.held_cancels.add(id)
            return

        def on_reply(_: Response | Refused) -> None:
            activation.requests_open -= 1

        activation.requests_open += 1
        self._link.request(PromiseCancel(id), on_reply)

    def _cancel_held(self, activation: Activation, batch: Batch) -> None:
        """Make the cancels that have waited for the creates of a fence."""
        for command in batch:
            if command.id in activation.held_cancels:
                activation.held_cancels.remove(command.id)
                self.cancel(activation, command.id)

    # The end of a task ---------------------------------------------------------------------------

    def fulfill(
        self, activation: Activation, state: SettleState, value: Value, *, last: bool = False
    ) -> None:
        """Settle the task's promise. All that its runs have made is answered by now.

        Parameters
        ----------
        last
            The value is an error that stands for a refused one, so no other is tried.
        """
        self._state.leave_running(activation, Phase.ENDING)
        self._link.request(
            TaskFulfill(activation.id, activation.version, state, value),
            partial(self._on_fulfilled, activation, value, last),
        )

    def fail(self, activation: Activation, error: Exception) -> None:
        """End the task with an error that is the node's and not the function's."""
        value = failed_value(self._state.env.values, error)
        self._state.failed += 1
        self.fulfill(activation, REJECTED, value, last=True)

    def park(self, activation: Activation, cause: str) -> None:
        """Halt the task, because it cannot go on with the code of this node.

        That is no result of the call. A person mends it, and continues the task, which goes on
        where it was.
        """
        if activation.phase is Phase.ENDING:
            return
        if self._gathered:
            self.send()
        state = self._state
        state.leave_running(activation, Phase.ENDING)
        root = activation.root
        if root is not None and root.routine.trace is not None:
            root.routine.trace.let_go(f"parked: {cause}")
        if state.log is not None:
            state.log(f"{activation.id} is parked: {cause}")
        text = printable(cause)
        self._link.request(
            TaskHalt(activation.id, text, activation.version),
            partial(self._on_parked, activation),
        )

    def _on_parked(self, activation: Activation, answer: Response | Refused) -> None:
        if activation.dropped:
            return
        status, text = _status(answer)
        if status in (404, 409, 410):
            self._state.lose(activation, text or "the lease was lost")
            return
        if status >= 400:
            # The task goes back, to be tried later, because nobody else would ever end the lease.
            release = TaskRelease(activation.id, activation.version, UNPARKED_DELAY_MS)
            self._link.request(release, ignore_reply)
        self._state.drop(activation)

    def _on_fulfilled(
        self, activation: Activation, value: Value, last: bool, answer: Response | Refused
    ) -> None:
        if activation.dropped:
            return
        status = answer.status if isinstance(answer, Refused) else answer.reply.status
        if status not in (400, 413):
            self._state.drop(activation)
        elif not last:
            _, text = _status(answer)
            name = activation.promise.param.headers.get(HEADER_FUNCTION, activation.id)
            self.fail(activation, CommandError(status, f"the result of {name}: {text}"))
        elif value.data is not None:
            self.fulfill(activation, REJECTED, EMPTY, last=True)
        else:
            self._state.drop(activation)

    def on_refused(self, activation: Activation, answer: Response | Refused) -> None:
        """Act on the refusal of a request as a whole: the task is lost, or ends with an error."""
        status, text = _status(answer)
        if status in (404, 409, 410):
            found = answer.reply.promise if isinstance(answer, Response) else None
            is_over = found is not None and found.settled
            self._state.lose(activation, text or "the lease was lost", is_over=is_over)
        elif status == 429:
            # That is no failure of the function: it goes on once there is room.
            state, again = self._state, QUOTA_DELAY_MS
            if state.log is not None:
                state.log(f"{activation.id} is given back for {again / 1_000:g} s: {text}")
            state.leave_running(activation, Phase.ENDING)
            release = TaskRelease(activation.id, activation.version, again, cause=printable(text))
            self._link.request(release, ignore_reply)
            state.drop(activation)
        else:
            # The lease is still this node's, so nobody else would ever end the task.
            self.fail(activation, CommandError(status, f"{activation.id}: {text}"))


def ignore_reply(answer: Response | Refused) -> None:
    """Ignore the reply to a release or cancel: one that is refused has been overtaken."""


def _refusal(reply: Reply | None) -> str | None:
    return None if reply is None or reply.ok else reply.error or "refused"


def failed_value(values: Values, error: Exception) -> Value:
    """Return the value of a call that ends with an error which its function has not raised."""
    return Value({HEADER_ERROR: error_class(error)}, values.encode_error(error))


def _creates(batch: Batch, id: str) -> bool:
    return any(command.id == id and isinstance(command, PromiseCreate) for command in batch)


def _batches(commands: list[ChildCommand], count_max: int, bytes_max: int) -> Iterator[Batch]:
    """Cut a run's commands so that no fence is too large for a frame."""
    batch: list[ChildCommand] = []
    size_bytes = 0
    for command in commands:
        value = command.value if isinstance(command, PromiseSettle) else command.param
        length = len(value.data) if value.data is not None else 0
        if batch and (len(batch) >= count_max or size_bytes + length > bytes_max):
            yield tuple(batch)
            batch, size_bytes = [], 0
        batch.append(command)
        size_bytes += length
    if batch:
        yield tuple(batch)


def _status(answer: Response | Refused) -> tuple[int, str]:
    """Return the status and error text of an answer."""
    if isinstance(answer, Refused):
        return answer.status, answer.error
    return answer.reply.status, answer.reply.error or ""
