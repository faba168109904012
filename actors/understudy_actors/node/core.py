"""The node's core: what it holds, what each message and each finished step means. Pure.

It reads no clock and does no I/O: the service calls it with what arrived and the time, and it acts
through two ports, the link and the executor. All of it runs on one thread; only routines are
stepped elsewhere, one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_actors.activation import Activation, Phase, Run, StepReport
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import LocalStart, StepResult
from understudy_actors.node.fencing import ignore
from understudy_actors.node.statistics import NodeStatistics
from understudy_actors.node.suspension import Suspension
from understudy_broker.protocol.messages import (
    Credit,
    Invoke,
    Refused,
    Response,
    Resume,
    Revoked,
    Settled,
    ToPeer,
)
from understudy_store.commands import (
    PromiseCancel,
    PromiseSettle,
    TaskPreload,
    TaskRelease,
)
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_RETRY,
    HEADER_VERSION,
    PromiseRecord,
)


class NodeCore(Suspension):
    """What each message, and each finished step, means."""

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

    def perform(self, promise: PromiseRecord, version: int, failures: int, now: int) -> None:
        """A task that this node made, or found pending, and acquired for itself."""
        self._now = now
        if version == 1:
            self._begin(promise, version, [])
        else:
            self._ask_preload(promise, version, failures)

    def _begin(
        self,
        promise: PromiseRecord,
        version: int,
        preload: list[PromiseRecord],
        failures: int = 0,
    ) -> None:
        old = self.activations.get(promise.id)
        if old is not None:
            if old.version >= version:
                return
            self._drop(old)
        activation = Activation(promise, version)
        if preload:
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
            attempt=failures + 1,
            history=activation.recorded(activation.id),
            retry=retry,
        )
        activation.root = self._add_run(activation, routine, None)

    def _resume(self, message: Resume) -> None:
        activation = self.activations.get(message.promise.id)
        if message.preload is not None:
            self._begin(message.promise, message.version, message.preload, message.failures)
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
            self._ask_preload(message.promise, message.version, message.failures)

    def _ask_preload(self, promise: PromiseRecord, version: int, failures: int) -> None:
        """The broker took us for warm, but this activation is gone from memory."""

        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.ok:
                self._begin(promise, version, answer.reply.promises or [], failures)
                return
            old = self.activations.get(promise.id)
            if old is not None and old.version >= version:
                return
            # a lease that was lost meanwhile is let go; anything else ends the task, for the
            # lease is ours and nobody else ever would
            self._drop(old)
            activation = self.activations[promise.id] = Activation(promise, version)
            self._running += 1
            self._refused(activation, answer)

        self.broker.request(TaskPreload(promise.id, version), on_reply)

    def _catch_up(self, activation: Activation) -> None:
        """After a reconnect: hear of what settled meanwhile."""

        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.promises:
                for record in answer.reply.promises:
                    if record.settled:
                        self.learn(record)

        self.broker.request(TaskPreload(activation.id, activation.version), on_reply)

    def _add_run(self, activation: Activation, routine: Routine, parent: Run | None) -> Run:
        run = Run(activation, routine, parent)
        activation.runs[routine.id] = run
        self._schedule(run)
        return run

    def stepped(self, reports: Iterable[StepReport], now: int) -> None:
        """Act on steps that ended, or handed out what they had so far."""
        self._now = now
        self._gathering = True
        try:
            for report in reports:
                self._stepped(report)
        finally:
            self._gathering = False
            self._send_fences()

    def _stepped(self, report: StepReport) -> None:
        run, final = report.run, report.final
        activation = run.activation
        if run.routine.dropped or self.activations.get(activation.id) is not activation:
            if final:
                # dropped after its step had ended, so that nobody closed it
                self._close(run)
            return
        self._perform(run, report.result, report.inlined)
        if not final or run.routine.dropped:
            return
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

    def _perform(
        self, run: Run, output: StepResult, inlined: tuple[Routine, StepResult] | None = None
    ) -> None:
        activation = run.activation
        if output.commands:
            self._fence(run, output.commands)
        for start in output.locals:
            self._start_local(run, start, inlined)
        if output.cancels:
            self._send_fences()
        for id in output.cancels:
            self.broker.request(PromiseCancel(id), ignore)
        if output.done is not None:
            run.done = True
            if output.done.error is None:
                self.done += 1
            else:
                self.failed += 1
                if self.log_failure is not None and run.parent is None:
                    self.log_failure(
                        f"{run.routine.function.name} {run.routine.id} failed", output.done.error
                    )
            if run.parent is None:
                self._fulfill(activation, output.done.state, output.done.value)
            else:
                settle = PromiseSettle(run.routine.id, output.done.state, output.done.value)
                del activation.runs[run.routine.id]
                self._fence(run.parent, [settle], counted=False)
        elif output.retry_after_s is not None:
            self._retry(run, output)

    def _start_local(
        self, parent: Run, start: LocalStart, inlined: tuple[Routine, StepResult] | None
    ) -> None:
        activation = parent.activation
        if inlined is not None:
            # It is a quick one, and has run already in the same step as its caller.
            routine, output = inlined
            run = activation.runs[routine.id] = Run(activation, routine, parent)
            self._perform(run, output)
            return
        history = activation.recorded(start.spec.id)
        self._add_run(activation, local_routine(parent.routine, start, history), parent)

    def _retry(self, run: Run, output: StepResult) -> None:
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
            self._send_fences()
            release = TaskRelease(activation.id, activation.version, delay_ms, failed=True)
            self.broker.request(release, ignore)
            self._drop(activation)
            return
        run.routine = routine.next_attempt()
        activation.busy += 1
        self._retries.append((self._now + delay_ms, run))

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
                self.broker.request(TaskRelease(activation.id, activation.version), ignore)
                root.scheduled = False
                self._drop(activation)
                count += 1
        if count:
            # nothing may be running whose end would ask for more
            self.grant()
        return count

    def stop_serving(self) -> None:
        """Take no more work; suspend what waits at once."""
        self.serving = False
        for activation in list(self.activations.values()):
            if activation.phase is Phase.WAITING:
                self._suspend(activation)

    @property
    def running(self) -> int:
        """Activations that use credit: they do not merely wait for promises."""
        return self._running

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
