"""The node's core: decides what each message and each finished step means. Pure.

How it works
------------
A node holds *activations*: tasks that the broker has handed it, each with the runs of functions
that belong to it. The core is called with three kinds of events (messages of the broker, reports of
steps, the passing of time) and acts through two ports: the link, for requests to the broker, and
the executor, which steps routines on threads of its own. It reads no clock. All calls come from one
thread at a time; only routines are stepped elsewhere, each by one thread at a time.

The life of an activation (`Phase`):

* RUNNING: it was invoked or resumed, and some run of it is queued or being stepped. Only in this
  phase it uses credit. So functions that wait for others do not keep those from being handed out,
  and recursion cannot block itself.
* WAITING: all its runs wait for promises. It lingers, with its lease, in case one settles soon.
* HELD: the same, but a coroutine has started tasks, or has set a time limit. Only its loop knows
  whether something else will wake it, so the lease is kept until it ends.
* SUSPENDING, SUSPENDED: the lease is given up, and the store notes what is awaited. The activation
  stays in memory (*warm*), so that a resume need not replay it; the longest suspended are dropped
  if there are too many, or all if the connection is lost, since nobody tells this node then of what
  settles.
* ENDING: its result is on its way.

Commands of runs travel in *fences*, under the version of the task. If the task has gone to another
node, the store refuses the fence, and the activation is dropped: this is how two nodes that both
believe they hold a task are kept from doing harm. Every request is answered, after a reconnect if
need be; an answer for an activation that was dropped meanwhile is ignored (`Activation.dropped`).

The parts, each with its own state: `NodeState` holds the activations and moves them between phases.
`Settlements` passes settled promises to the runs that wait for them. `Fencing` sends commands and
results. `Timers` has the actions that are due later. `Suspension` lets activations linger and
suspends them. `Intake` makes activations of tasks. `CreditAccounts` announces how much more work
there is room for, and `ProgressReports` how far functions are. A part calls only those before it,
and `NodeCore` orders them.

What is not perfect
-------------------
* A local call that waits for its next attempt keeps its task's lease, however long the delay is.
* The linger is the same for every wait. A function that waits in turn for a long time and for a
  short one pays the suspend for each long wait.
* Credit follows the mean duration of steps. Where a few functions are slow and many are quick, it
  is too high for the slow ones; the shell then offers queued work to other nodes (`give_back`).
* After a reconnect each activation asks for its history in a request of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from understudy_actors.activation import Activation, Phase, Run, StepReport
from understudy_actors.error_classes import error_class
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.outcome import Outcome
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import LocalStart, StepResult
from understudy_actors.node.causes import failed_attempt
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.credit import CreditAccounts
from understudy_actors.node.fencing import Fencing, ignore_reply
from understudy_actors.node.intake import Intake
from understudy_actors.node.ports import BrokerPort, ExecutorPort, Log, LogFailure, SessionPort
from understudy_actors.node.progress import ProgressReports
from understudy_actors.node.settlements import IsThere, Settlements, everything
from understudy_actors.node.state import NodeState
from understudy_actors.node.statistics import NodeStatistics
from understudy_actors.node.suspension import Suspension
from understudy_actors.node.timers import Timers
from understudy_broker.protocol.messages import Invoke, Resume, Revoked, Settled, ToPeer
from understudy_store.commands import PromiseSettle, TaskRelease
from understudy_store.records import PromiseRecord
from understudy_store.slots import slot_of

#: reasons of a revocation for which the task's promise has settled
_SETTLED: Final = frozenset({"settled", "canceled", "deadline"})


class NodeCore:
    """The core of one node; owns its parts and puts their work in order.

    Parameters
    ----------
    log
        Takes lines that a person should see.
    log_failure
        Takes a line, the exception, and whether there will be another attempt: for every task that
        failed for good, and the first failure of every run that is tried again.
    """

    def __init__(
        self,
        env: Environment,
        link: BrokerPort,
        executor: ExecutorPort,
        config: NodeConfig | None = None,
        *,
        log: Log | None = None,
        log_failure: LogFailure | None = None,
    ) -> None:
        state = NodeState(env, executor, config or NodeConfig(), log, log_failure)
        self.state = state
        self._link = link
        self._settlements = Settlements(state, link)
        self._fencing = Fencing(state, link, self._settlements)
        self.timers = Timers(state)
        self._suspension = Suspension(state, link, self.timers, self._fencing, self._settlements)
        self._intake = Intake(state, link, self._fencing, self._suspension, self._settlements)
        self.credit = CreditAccounts(state)
        self.progress = ProgressReports(state)

    # The session ---------------------------------------------------------------------------------

    def claims(self, is_there: IsThere = everything) -> tuple[tuple[str, int], ...]:
        """Return id and version of the tasks whose lease this node has, to be claimed at a join.

        Parameters
        ----------
        is_there
            Returns whether the promise of an id is at the broker that is joined. Here and below,
            every one is by default.
        """
        return tuple(
            (each.id, each.version)
            for each in self.state.activations.values()
            if each.phase is not Phase.SUSPENDED and is_there(each.id)
        )

    def new_session(self, session: SessionPort) -> int:
        """Count credit anew; return the credit to be announced at the join."""
        return self.credit.new_session(session)

    def connected(
        self, lost: Iterable[tuple[str, int]], reconnected: bool, is_there: IsThere = everything
    ) -> None:
        """Go on after a join.

        Parameters
        ----------
        lost
            Claims that the broker has refused: their tasks are dropped, if no other broker has
            handed out a later version meanwhile.
        reconnected
            There was a session before, so settlements may have been missed.
        """
        state = self.state
        for id, version in lost:
            activation = state.activations.get(id)
            if activation is not None and activation.version == version:
                state.drop(activation)
        if reconnected:
            # This broker tells nobody of what was suspended under another one.
            self.disconnected(is_there)
            for activation in list(state.activations.values()):
                if is_there(activation.id):
                    self._intake.catch_up(activation)
                    self.progress.renew(activation)
        self._settlements.watch_again(is_there)

    def disconnected(self, is_there: IsThere = everything) -> None:
        """Drop suspended activations, because nobody tells this node of their settlements now."""
        state = self.state
        for id in list(state.warm):
            if is_there(id):
                state.drop(state.activations.get(id))

    # Credit --------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Ask for work from now on."""
        self.state.serving = True
        self.grant()

    def grant(self) -> None:
        """Announce room for more tasks, if there is more of it."""
        self.credit.grant()

    # Messages and time ---------------------------------------------------------------------------

    def receive(self, messages: Iterable[ToPeer], now_ms: int, session: SessionPort) -> None:
        """Act on messages of a broker, in order.

        Parameters
        ----------
        now_ms
            Epoch milliseconds.
        session
            The one that they came in.
        """
        self.state.now_ms = now_ms
        for message in messages:
            if isinstance(message, Settled):
                for record in message.promises:
                    self._settlements.learn(record)
            elif isinstance(message, Invoke):
                self.credit.use(session)
                self._intake.begin(message.promise, message.version, [])
            elif isinstance(message, Resume):
                self.credit.use(session)
                self._intake.resume(message)
                activation = self.state.activations.get(message.promise.id)
                if activation is not None:
                    self.progress.renew(activation)
            elif isinstance(message, Revoked):
                activation = self.state.activations.get(message.id)
                if activation is not None and activation.version == message.version:
                    self.state.drop(activation, is_over=message.reason in _SETTLED)

    def perform(self, promise: PromiseRecord, version: int, failures: int, now_ms: int) -> None:
        """Perform a task that this node created, or found pending, and acquired for itself."""
        self.state.now_ms = now_ms
        if version == 1:
            self._intake.begin(promise, version, [])
        else:
            self._intake.request_preload(promise, version, failures)

    def next_due(self) -> int | None:
        """Return when `tick` has something to do, epoch milliseconds; None: never."""
        return self.timers.next_due

    def tick(self, now_ms: int) -> None:
        """Suspend activations that have lingered, and retry local calls that are due."""
        self.state.now_ms = now_ms
        self.timers.run_due()

    # Steps ---------------------------------------------------------------------------------------

    def stepped(self, reports: Iterable[StepReport], now_ms: int) -> None:
        """Act on steps that ended, or handed out what they had so far."""
        self.state.now_ms = now_ms
        self._fencing.gather(self._on_report, reports)

    def _on_report(self, report: StepReport) -> None:
        run = report.run
        activation, routine = run.activation, run.routine
        if routine.dropped or activation.dropped:
            if report.final:
                # It was dropped after its step had ended, so nobody has closed it.
                self.state.close(run)
            return
        if run.waits or not run.scheduled:
            # Its step goes on; or a time limit of its loop has interrupted a wait after the step.
            run.waits, run.scheduled = False, True
            activation.busy += 1
            self.state.wake(activation)
        self._perform(run, report.result, report.inlined)
        if run.routine.dropped or not (report.final or report.waits):
            return
        activation.busy -= 1
        if report.waits:
            run.waits = True
            self._suspension.wait_if_idle(activation)
            return
        run.scheduled = False
        if not run.done and (run.routine.inbox or run.routine.runnable):
            self.state.schedule(run)
        self._suspension.wait_if_idle(activation)

    def _perform(
        self, run: Run, result: StepResult, inlined: tuple[Routine, StepResult] | None = None
    ) -> None:
        """Do what a step asks for. Results come last, because they may end the lease."""
        if result.mismatch is not None:
            run.done = True
            text = f"{type(result.mismatch).__name__}: {result.mismatch}"
            self._fencing.park(run.activation, text)
            return
        if result.commands:
            self._fencing.add(run, result.commands)
        for start in result.locals:
            id, task_id = start.spec.id, run.activation.id
            if slot_of(id) != slot_of(task_id) and any(id == each.id for each in result.commands):
                # The history has nothing of other slots: it may have been performed already.
                run.activation.held_starts[id] = partial(self._start_local, run, start, None)
            else:
                self._start_local(run, start, inlined)
        if result.cancels:
            self._fencing.send()
            for id in result.cancels:
                self._fencing.cancel(run.activation, id)
        if result.done is not None:
            self._end(run, result.done)
        elif result.retry_after_s is not None:
            self._retry(run, result)

    def _start_local(
        self, parent: Run, start: LocalStart, inlined: tuple[Routine, StepResult] | None
    ) -> None:
        activation = parent.activation
        if inlined is not None:
            # It is a quick one, and has run already in the same step as its caller.
            routine, result = inlined
            run = activation.runs[routine.id] = Run(activation, routine, parent)
            self._perform(run, result)
            if routine.runnable:
                # It has returned a coroutine, which its loop runs.
                self.state.schedule(run)
            return
        history = activation.take_history(start.spec.id)
        self.state.add_run(activation, local_routine(parent.routine, start, history), parent)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Pass on how a function ended: to the store, and for a local call to its caller."""
        run.done = True
        state, routine = self.state, run.routine
        if outcome.error is None:
            state.done += 1
        else:
            state.failed += 1
            if state.log_failure is not None and run.parent is None:
                text = f"{routine.function.name} {routine.id} failed"
                state.log_failure(text, outcome.error, False)
        if run.parent is None:
            state.note_end(run)
            self._fencing.fulfill(run.activation, outcome.state, outcome.value)
        else:
            settle = PromiseSettle(routine.id, outcome.state, outcome.value)
            self.progress.end(run.activation, routine)
            del run.activation.runs[routine.id]
            self._fencing.add(run.parent, [settle], counted=False)

    def _retry(self, run: Run, result: StepResult) -> None:
        """Try a leaf again: a task goes back with a delay, a local call is run again here."""
        assert result.retry_after_s is not None
        assert result.retry_error is not None
        delay_ms = int(result.retry_after_s * 1000)
        state, routine = self.state, run.routine
        cause = failed_attempt(routine.attempt, result.attempts_max, result.retry_error)
        news = f"{cause}; the next one in {result.retry_after_s:.3g} s"
        text = f"{routine.function.name} {routine.id}: {news}"
        if routine.attempt == 1 and state.log_failure is not None:
            # The traceback of the first failure is what leads to the mistake.
            state.log_failure(text, result.retry_error, True)
        elif state.log is not None:
            state.log(text)
        if run.parent is None:
            state.note_end(run)
            self._fencing.send()
            error = error_class(result.retry_error)
            self._release(run.activation, delay_ms, failed=True, cause=cause, error=error)
        else:
            run.routine = routine.next_attempt()
            self.progress.tell_of(run.routine, news)
            run.activation.busy += 1
            self.timers.add(delay_ms, partial(self._try_again, run))

    def _try_again(self, run: Run) -> None:
        run.activation.busy -= 1
        if not run.activation.dropped:
            self.state.schedule(run)

    # Leaving -------------------------------------------------------------------------------------

    def give_back(self) -> int:
        """Release the tasks that have not begun; return how many those were."""
        count = 0
        for activation in list(self.state.activations.values()):
            root = activation.root
            if (
                activation.phase is Phase.RUNNING
                and root is not None
                and len(activation.runs) == 1
                and self.state.executor.withdraw(root)
            ):
                root.scheduled = False
                self._release(activation)
                count += 1
        if count:
            # It may be that nothing runs now whose end would ask for more work.
            self.grant()
        return count

    def _release(
        self,
        activation: Activation,
        delay_ms: int = 0,
        *,
        failed: bool = False,
        cause: str = "",
        error: str = "",
    ) -> None:
        release = TaskRelease(activation.id, activation.version, delay_ms, failed, cause, error)
        self._link.request(release, ignore_reply)
        self.state.drop(activation)

    def stop_serving(self) -> None:
        """Take no more work, and suspend at once what waits."""
        self.state.serving = False
        for activation in list(self.state.activations.values()):
            if activation.phase is Phase.WAITING:
                self._suspension.suspend(activation)
            elif activation.phase is Phase.HELD:
                # It cannot be suspended, but another node can go on with it.
                self._release(activation)

    # Counts --------------------------------------------------------------------------------------

    @property
    def activations(self) -> dict[str, Activation]:
        """The activations by the ids of their tasks."""
        return self.state.activations

    @property
    def running(self) -> int:
        """Number of activations that use credit: they do not merely wait for promises."""
        return self.state.running

    @property
    def holding(self) -> int:
        """Number of tasks whose lease this node has."""
        return self.state.held

    def statistics(self) -> NodeStatistics:
        state = self.state
        return NodeStatistics(
            running=state.running,
            held=state.held,
            warm=len(state.warm),
            done=state.done,
            failed=state.failed,
            replays=state.replays,
            replayed_steps=state.replayed_steps,
            warm_resumes=state.warm_resumes,
            credit=self.credit.left,
        )
