"""The node's core: what it holds, what each message and each finished step means. Pure.

It reads no clock and does no I/O: the service calls it with what arrived and the time, and it acts
through two ports, the link and the executor. All of it runs on one thread; only routines are
stepped elsewhere, one thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from understudy_actors.errors import CommandError
from understudy_actors.functions import Environment
from understudy_actors.interpreter.outputs import LocalStart, Output
from understudy_actors.interpreter.routine import Routine
from understudy_actors.node import fences
from understudy_actors.node.activation import Activation, Phase, Run
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.credit import CreditPolicy
from understudy_actors.node.ports import BrokerPort, ExecutorPort
from understudy_actors.node.statistics import NodeStatistics
from understudy_broker.protocol.messages import (
    Credit,
    Invoke,
    PromiseWatch,
    Refused,
    Response,
    Resume,
    Revoked,
    Settled,
    ToPeer,
)
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSettle,
    TaskFence,
    TaskFulfill,
    TaskPreload,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.records import (
    EMPTY,
    HEADER_FUNCTION,
    HEADER_RETRY,
    HEADER_VERSION,
    REJECTED,
    TAG_BRANCH,
    PromiseRecord,
    Value,
)

#: takes a line that a person should see
Log = Callable[[str], None]


class NodeCore:
    """Activations of one node."""

    def __init__(
        self,
        env: Environment,
        broker: BrokerPort,
        executor: ExecutorPort,
        config: NodeConfig | None = None,
        *,
        log: Log | None = None,
    ) -> None:
        self.env = env
        self.broker = broker
        self.executor = executor
        self.config = config or NodeConfig()
        self.log = log
        self.activations: dict[str, Activation] = {}
        self.serving = False
        self._warm: OrderedDict[str, None] = OrderedDict()
        self._lingering: deque[tuple[int, Activation]] = deque()
        self._retries: list[tuple[int, Run]] = []
        #: runs that wait for promises that another function made
        self._strangers: dict[str, list[Run]] = {}
        self._credit = CreditPolicy(
            self.config.concurrency, self.config.ahead_ms, self.config.ahead_max
        )
        self._running = 0
        self._received = 0
        self._granted = 0
        self._now = 0
        self.done = 0
        self.failed = 0

    # Session -------------------------------------------------------------------------------------

    def claims(self) -> tuple[tuple[str, int], ...]:
        """Tasks whose lease this node has, for `Hello`."""
        return tuple(
            (a.id, a.version) for a in self.activations.values() if a.phase is not Phase.SUSPENDED
        )

    def new_session(self) -> int:
        """Count credit anew; the number that goes into `Hello`."""
        self._received = 0
        self._granted = self._room()
        return self._granted

    def connected(self, lost: Iterable[str], reconnected: bool) -> None:
        """The broker knows us. What it gave to others is dropped; what waits is asked for again."""
        for id in lost:
            self._drop(self.activations.get(id))
        if reconnected:
            for activation in list(self.activations.values()):
                self._catch_up(activation)
        for id in self._strangers:
            self._watch(id)

    def disconnected(self) -> None:
        """Nobody tells us of settlements now, so nothing suspended may count as warm."""
        for id in list(self._warm):
            self._drop(self.activations.get(id))

    def serve(self) -> None:
        """Ask for work."""
        self.serving = True
        self.grant()

    def grant(self) -> None:
        """Announce room for more tasks, if there is any more of it."""
        total = self._received + self._room()
        # what is said while there is no session is lost; the next hello counts anew
        if total > self._granted and self.broker.send(Credit(total)) is not False:
            self._granted = total

    def _room(self) -> int:
        if not self.serving:
            return 0
        return max(0, self._credit.target - self._running)

    # Messages ------------------------------------------------------------------------------------

    def receive(self, messages: Iterable[ToPeer], now: int) -> None:
        """Messages of the broker, in order."""
        self._now = now
        for message in messages:
            if isinstance(message, Settled):
                for record in message.promises:
                    self.learn(record)
            elif isinstance(message, Invoke):
                self._received += 1
                self._begin(message.promise, message.version, [])
            elif isinstance(message, Resume):
                self._received += 1
                self._resume(message)
            elif isinstance(message, Revoked):
                activation = self.activations.get(message.id)
                if activation is not None and activation.version == message.version:
                    self._drop(activation)

    def learn(self, record: PromiseRecord) -> None:
        """A promise settled; wake whoever waits for it."""
        for run in self._strangers.pop(record.id, ()):
            self._tell(run, record)
        activation = self.activations.get(record.tags.get(TAG_BRANCH, ""))
        if activation is not None:
            owner = activation.run_of(record)
            if owner is not None:
                self._tell(owner, record)

    def perform(self, promise: PromiseRecord, version: int, now: int) -> None:
        """A task that this node made, or found pending, and acquired for itself."""
        self._now = now
        if version == 1:
            self._begin(promise, version, [])
        else:
            self._ask_preload(promise, version)

    def _begin(self, promise: PromiseRecord, version: int, preload: list[PromiseRecord]) -> None:
        old = self.activations.get(promise.id)
        if old is not None:
            if old.version >= version:
                return
            self._drop(old)
        activation = Activation(promise, version)
        activation.remember(preload)
        self.activations[promise.id] = activation
        self._running += 1
        headers = promise.param.headers
        try:
            function = self.env.functions.get(
                headers.get(HEADER_FUNCTION, ""), int(headers.get(HEADER_VERSION, 0)) or None
            )
            retry = self.env.values.retry_policy(headers.get(HEADER_RETRY))
        except Exception as error:
            self._fulfill_error(activation, error)
            return
        routine = Routine(
            self.env,
            function,
            promise,
            origin=activation.origin,
            branch=activation.id,
            data=promise.param.data,
            attempt=version,
            history=activation.history.pop(activation.id, None),
            retry=retry,
        )
        activation.root = self._add_run(activation, routine, None)

    def _resume(self, message: Resume) -> None:
        activation = self.activations.get(message.promise.id)
        if message.preload is not None:
            self._begin(message.promise, message.version, message.preload)
        elif activation is not None and activation.phase is Phase.SUSPENDED:
            self._warm.pop(activation.id, None)
            activation.version = message.version
            activation.phase = Phase.RUNNING
            self._running += 1
            for run in list(activation.runs.values()):
                if run.routine.inbox:
                    self._schedule(run)
            self._settle_phase(activation)
        else:
            self._ask_preload(message.promise, message.version)

    def _ask_preload(self, promise: PromiseRecord, version: int) -> None:
        """The broker took us for warm, but this activation is gone from memory."""

        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.ok:
                self._begin(promise, version, answer.reply.promises or [])

        self.broker.request(TaskPreload(promise.id, version), on_reply)

    def _catch_up(self, activation: Activation) -> None:
        """After a reconnect: hear of what settled meanwhile."""

        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.promises:
                for record in answer.reply.promises:
                    if record.settled:
                        self.learn(record)

        self.broker.request(TaskPreload(activation.id, activation.version), on_reply)

    # Runs ----------------------------------------------------------------------------------------

    def _add_run(self, activation: Activation, routine: Routine, parent: Run | None) -> Run:
        run = Run(activation, routine, parent)
        activation.runs[routine.id] = run
        self._schedule(run)
        return run

    def _schedule(self, run: Run) -> None:
        if not run.scheduled and not run.done:
            run.scheduled = True
            run.activation.busy += 1
            self.executor.submit(run)

    def _tell(self, run: Run, record: PromiseRecord) -> None:
        """Put a settlement into a run's inbox and, if this node may go on with it, wake it."""
        if run.done or run.routine.dropped:
            return
        run.routine.learn(record)
        activation = run.activation
        if activation.phase in (Phase.RUNNING, Phase.WAITING) and not run.scheduled:
            self._wake(activation)
            self._schedule(run)

    def _wake(self, activation: Activation) -> None:
        if activation.phase is Phase.WAITING:
            activation.phase = Phase.RUNNING
            self._running += 1

    def stepped(self, results: Iterable[tuple[Run, Output, bool]], now: int) -> None:
        """Steps that ended (True) or handed out what they had so far (False)."""
        self._now = now
        for run, output, final in results:
            activation = run.activation
            if run.routine.dropped or self.activations.get(activation.id) is not activation:
                if final:
                    # dropped after its step had ended, so that nobody closed it
                    self._close(run)
                continue
            self._perform(run, output)
            if not final or run.routine.dropped:
                continue
            run.scheduled = False
            activation.busy -= 1
            if not run.done and (run.routine.inbox or run.routine.runnable):
                self._schedule(run)
            self._settle_phase(activation)

    def observe(self, count: int, busy_ms: float) -> None:
        """Steps measured by the service, for credit."""
        self._credit.observe(count, busy_ms)

    def observe_stuck(self, waited_ms: float) -> None:
        """What runs has held up the rest for that long."""
        self._credit.observe_stuck(waited_ms)

    def _perform(self, run: Run, output: Output) -> None:
        activation = run.activation
        if output.commands:
            self._fence(run, output.commands)
        for start in output.locals:
            self._start_local(run, start)
        for id in output.cancels:
            self.broker.request(PromiseCancel(id), _ignore)
        if output.done is not None:
            run.done = True
            if output.done.error is None:
                self.done += 1
            else:
                self.failed += 1
            if run.parent is None:
                self._fulfill(activation, output.done.state, output.done.value)
            else:
                settle = PromiseSettle(run.routine.id, output.done.state, output.done.value)
                del activation.runs[run.routine.id]
                self._fence(run.parent, [settle], counted=False)
        elif output.retry_after_s is not None:
            self._retry(run, output)

    def _start_local(self, parent: Run, start: LocalStart) -> None:
        spec = start.spec
        routine = Routine(
            self.env,
            start.function,
            start.record,
            origin=parent.activation.origin,
            branch=parent.activation.id,
            args=spec.args,
            kwargs=spec.kwargs,
            history=parent.activation.history.pop(spec.id, None),
            retry=self.env.values.retry_policy(spec.retry),
            time_ms=start.time_ms,
        )
        self._add_run(parent.activation, routine, parent)

    def _retry(self, run: Run, output: Output) -> None:
        """A leaf raised: a task goes back with a delay, a local step is run again here."""
        assert output.retry_after_s is not None
        delay_ms = int(output.retry_after_s * 1000)
        routine = run.routine
        if self.log is not None:
            self.log(
                f"{routine.function.name} {routine.id}: attempt {routine.attempt} failed with "
                f"{output.retry_error!r}; the next one in {output.retry_after_s:.3g} s"
            )
        activation = run.activation
        if run.parent is None:
            self.broker.request(TaskRelease(activation.id, activation.version, delay_ms), _ignore)
            self._drop(activation)
            return
        again = Routine(
            self.env,
            routine.function,
            routine.record,
            origin=routine.origin,
            branch=routine.branch,
            args=routine.args,
            kwargs=routine.kwargs,
            attempt=routine.attempt + 1,
            retry=routine.retry,
            time_ms=routine.time_ms,
        )
        run.routine = again
        activation.busy += 1
        self._retries.append((self._now + delay_ms, run))

    # Commands ------------------------------------------------------------------------------------

    def _fence(self, run: Run, commands: list[Any], *, counted: bool = True) -> None:
        """Send commands of a run; `counted`: its flow control knows of them."""
        activation = run.activation
        config = self.config
        for batch in fences.batches(commands, config.fence_commands_max, config.fence_bytes_max):

            def on_reply(answer: Response | Refused, batch: tuple[Any, ...] = batch) -> None:
                self._fenced(run, batch, answer, counted)

            activation.fences_open += 1
            self.broker.request(TaskFence(activation.id, activation.version, batch), on_reply)

    def _fenced(
        self, run: Run, batch: tuple[Any, ...], answer: Response | Refused, counted: bool
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
        if counted:
            routine.answered(len(batch))
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
        self._leave_running(activation)
        activation.phase = Phase.ENDING

        def on_reply(answer: Response | Refused) -> None:
            if self.activations.get(activation.id) is not activation:
                return
            status, text = _status(answer)
            if status not in (400, 413):
                self._drop(activation)
            elif not last:
                name = activation.promise.param.headers.get(HEADER_FUNCTION, activation.id)
                self._fulfill_error(
                    activation, CommandError(status, f"the result of {name}: {text}")
                )
            elif value.data is not None:
                self._fulfill(activation, REJECTED, EMPTY, last=True)
            else:
                self._drop(activation)

        self.broker.request(TaskFulfill(activation.id, activation.version, state, value), on_reply)

    def _fulfill_error(self, activation: Activation, error: Exception) -> None:
        value = Value({}, self.env.values.encode_error(error))
        self.failed += 1
        self._fulfill(activation, REJECTED, value, last=True)

    # Waiting -------------------------------------------------------------------------------------

    def _settle_phase(self, activation: Activation) -> None:
        """An activation with nothing to run waits; its credit is free for another."""
        if activation.busy or activation.phase is not Phase.RUNNING:
            return
        if any(r.routine.paused for r in activation.runs.values()):
            return
        self._leave_running(activation)
        activation.phase = Phase.WAITING
        activation.waiting_since = self._now
        self._lingering.append((self._now + self.config.linger_ms, activation))

    def _leave_running(self, activation: Activation) -> None:
        if activation.phase is Phase.RUNNING:
            self._running -= 1

    def next_due(self) -> int | None:
        """When `tick` has something to do, epoch milliseconds."""
        due = [self._lingering[0][0]] if self._lingering else []
        due += [at for at, _ in self._retries]
        return min(due) if due else None

    def tick(self, now: int) -> None:
        """Suspend what has lingered, retry what is due."""
        self._now = now
        while self._lingering and self._lingering[0][0] <= now:
            _, activation = self._lingering.popleft()
            waited_ms = now - activation.waiting_since
            if activation.phase is Phase.WAITING and waited_ms >= self.config.linger_ms:
                self._suspend(activation)
        due = [run for at, run in self._retries if at <= now]
        if due:
            self._retries = [(at, run) for at, run in self._retries if at > now]
            for run in due:
                run.activation.busy -= 1
                if self.activations.get(run.activation.id) is run.activation:
                    run.scheduled = False
                    self._schedule(run)

    def _suspend(self, activation: Activation) -> None:
        if activation.fences_open:
            # what the store answers may wake it; a lease given up now would miss that
            self._lingering.append((self._now + max(1, self.config.linger_ms), activation))
            return
        awaited = activation.wake_on()
        if not awaited:
            return
        activation.phase = Phase.SUSPENDING

        def on_reply(answer: Response | Refused) -> None:
            self._suspended(activation, awaited, answer)

        self.broker.request(
            TaskSuspend(activation.id, activation.version, tuple(awaited)), on_reply
        )

    def _suspended(
        self, activation: Activation, awaited: list[str], answer: Response | Refused
    ) -> None:
        if self.activations.get(activation.id) is not activation:
            return
        if isinstance(answer, Refused) or answer.reply.status == 409:
            self._refused(activation, answer)
            return
        status = answer.reply.status
        if status == 200:
            activation.phase = Phase.SUSPENDED
            self._warm[activation.id] = None
            while len(self._warm) > self.config.warm_max:
                oldest, _ = self._warm.popitem(last=False)
                self._drop(self.activations.get(oldest))
            return
        activation.phase = Phase.RUNNING
        self._running += 1
        for record in answer.reply.promises or ():
            for run in activation.runs.values():
                run.routine.learn(record)
        if status >= 400:
            self._probe(activation, awaited)
        for run in list(activation.runs.values()):
            if run.routine.inbox:
                self._schedule(run)
        self._settle_phase(activation)

    def _probe(self, activation: Activation, awaited: list[str]) -> None:
        """A suspend was refused: some promise cannot be waited for. Find which, and say so."""
        for id in awaited:

            def on_reply(answer: Response | Refused, id: str = id) -> None:
                absent = isinstance(answer, Response) and answer.reply.status == 404
                record = fences.missing(id, self.env.values) if absent else None
                if isinstance(answer, Response) and answer.reply.promises:
                    record = answer.reply.promises[0]
                runs = list(activation.runs.values())
                if record is None:
                    # pending, and another run's own step: whoever waits hears of it from here on
                    self._strangers.setdefault(id, []).extend(runs)
                    return
                for run in runs:
                    self._tell(run, record)

            self.broker.request(PromiseWatch((id,)), on_reply)

    # Ending --------------------------------------------------------------------------------------

    def _refused(self, activation: Activation, answer: Response | Refused) -> None:
        """The broker would not take what an activation asked for as a whole."""
        status, text = _status(answer)
        if status in (404, 409):
            self._lose(activation, text or "the lease was lost")
        else:
            # the lease is still ours, so nobody else would ever end it
            self._fulfill_error(activation, CommandError(status, f"{activation.id}: {text}"))

    def _lose(self, activation: Activation, reason: str) -> None:
        if self.log is not None:
            self.log(f"{activation.id}: let go, another node goes on with it ({reason})")
        self._drop(activation)

    def _drop(self, activation: Activation | None) -> None:
        """Forget an activation; what runs of it is let go and its results are ignored."""
        if activation is None or self.activations.get(activation.id) is not activation:
            return
        del self.activations[activation.id]
        self._warm.pop(activation.id, None)
        self._leave_running(activation)
        for run in activation.runs.values():
            if not run.done:
                run.routine.dropped = True
                self.executor.close(run)

    def _close(self, run: Run) -> None:
        run.scheduled = False
        if run.routine.alive:
            run.routine.dropped = True
            self.executor.close(run)

    def give_back(self) -> int:
        """Release what has not begun; how many tasks that were."""
        count = 0
        for activation in list(self.activations.values()):
            root = activation.root
            if (
                activation.phase is Phase.RUNNING
                and root is not None
                and len(activation.runs) == 1
                and self.executor.withdraw(root)
            ):
                self.broker.request(TaskRelease(activation.id, activation.version), _ignore)
                root.scheduled = False
                self._drop(activation)
                count += 1
        return count

    def stop_serving(self) -> None:
        """Take no more work; suspend what waits at once."""
        self.serving = False
        for activation in list(self.activations.values()):
            if activation.phase is Phase.WAITING:
                self._suspend(activation)

    @property
    def holding(self) -> int:
        """Tasks whose lease this node has."""
        return sum(1 for a in self.activations.values() if a.phase is not Phase.SUSPENDED)

    def statistics(self) -> NodeStatistics:
        return NodeStatistics(
            running=self._running,
            held=self.holding,
            warm=len(self._warm),
            done=self.done,
            failed=self.failed,
            credit=self._granted - self._received,
        )


def _status(answer: Response | Refused) -> tuple[int, str]:
    """What an answer says went wrong."""
    if isinstance(answer, Refused):
        return answer.status, answer.error
    return answer.reply.status, answer.reply.error or ""


def _ignore(answer: Response | Refused) -> None:
    """A release or a cancel that is refused has been overtaken; there is nothing left to do."""
