"""The state of a node: the activations that it holds, and the moves between their phases."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from understudy_actors.activation import Activation, Phase, Run
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.signals import cancel
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.ports import ExecutorPort, Log, LogFailure
from understudy_broker.monitoring.histogram import Histogram

#: activations in the phase HELD at a time, because each stays in memory for as long as it waits
HELD_MAX: Final = 1024


class NodeState:
    """The activations of one node.

    All other parts of the node change phases through these methods, so that `running`, from which
    credit is computed, is always the number of activations in the phase RUNNING.
    """

    def __init__(
        self,
        env: Environment,
        executor: ExecutorPort,
        config: NodeConfig,
        log: Log | None,
        log_failure: LogFailure | None,
    ) -> None:
        self.env = env
        self.executor = executor
        self.config = config
        self.log = log
        self.log_failure = log_failure
        #: by the id of the task
        self.activations: dict[str, Activation] = {}
        #: ids of suspended activations, the longest suspended first
        self.warm: OrderedDict[str, None] = OrderedDict()
        #: activations that use credit: they do not merely wait for promises
        self.running = 0
        self._held_by_tasks = 0
        #: told id and version of each task whose lease the node has given up; None: nobody is
        self.on_let_go: Callable[[str, int], None] | None = None
        #: the node asks for work
        self.serving = False
        #: time of the event that is acted on, epoch milliseconds
        self.now_ms = 0
        #: functions that returned, and that failed
        self.done = 0
        self.failed = 0
        #: activations that began with a history, the settled steps in these, and those that went on
        #: from memory instead
        self.replays = 0
        self.replayed_steps = 0
        self.warm_resumes = 0
        #: how long the functions of tasks took, milliseconds, by their names
        self.executions: dict[str, Histogram] = {}

    @property
    def held(self) -> int:
        """Number of tasks whose lease this node has."""
        return sum(1 for each in self.activations.values() if each.phase is not Phase.SUSPENDED)

    def add(self, activation: Activation) -> None:
        """Hold a new activation, which is running."""
        activation.began_ms = self.now_ms
        self.activations[activation.id] = activation
        self.running += 1

    def add_run(self, activation: Activation, routine: Routine, parent: Run | None) -> Run:
        """Add a function to an activation, and schedule its first step."""
        run = activation.runs[routine.id] = Run(activation, routine, parent)
        self.schedule(run)
        return run

    def schedule(self, run: Run) -> None:
        """Have a run stepped, unless it already will be."""
        if not run.scheduled and not run.done:
            run.scheduled = True
            run.activation.busy += 1
            self.executor.submit(run)

    def wake(self, activation: Activation) -> None:
        """End the wait of an activation that lingers."""
        if activation.phase is Phase.HELD:
            self._held_by_tasks -= 1
        elif activation.phase is not Phase.WAITING:
            return
        activation.phase = Phase.RUNNING
        self.running += 1

    def resume(self, activation: Activation) -> None:
        """Go on with an activation that is suspended, or about to be, and its runs with news."""
        activation.phase = Phase.RUNNING
        self.running += 1
        for run in list(activation.runs.values()):
            if run.routine.inbox:
                self.schedule(run)

    def note_end(self, run: Run) -> None:
        """Count how long a task's function took, from when this node had the task."""
        name = run.routine.function.name
        histogram = self.executions.get(name)
        if histogram is None:
            histogram = self.executions[name] = Histogram()
        histogram.observe(max(0, self.now_ms - run.activation.began_ms))

    def hold(self, activation: Activation) -> bool:
        """Move an activation whose tasks wait to the phase HELD; False: too many are there."""
        if self._held_by_tasks >= HELD_MAX:
            return False
        self._held_by_tasks += 1
        self.leave_running(activation, Phase.HELD)
        return True

    def leave_running(self, activation: Activation, phase: Phase) -> None:
        """Move an activation to a phase that uses no credit."""
        if activation.phase is Phase.RUNNING:
            self.running -= 1
        elif activation.phase is Phase.HELD:
            self._held_by_tasks -= 1
        activation.phase = phase

    def keep_warm(self, activation: Activation) -> None:
        """Keep a suspended activation; drop the longest suspended if there are too many."""
        activation.phase = Phase.SUSPENDED
        self.warm[activation.id] = None
        if self.on_let_go is not None:
            self.on_let_go(activation.id, activation.version)
        while len(self.warm) > self.config.warm_max:
            oldest, _ = self.warm.popitem(last=False)
            self.drop(self.activations.get(oldest))

    def lose(self, activation: Activation, reason: str, *, is_over: bool = False) -> None:
        """Drop an activation whose task belongs to another node now, or is over, and say so."""
        if self.log is not None:
            self.log(f"{activation.id}: let go, because it is no longer this node's ({reason})")
        self.drop(activation, is_over=is_over)

    def set_all_aside(self) -> None:
        """Let go of every function at the end of the node; nothing of their code runs."""
        for activation in self.activations.values():
            for run in activation.runs.values():
                if run.scheduled:
                    # Its thread cannot be ended, but what it has started can.
                    cancel(run.routine)
                else:
                    run.routine.close()

    def drop(self, activation: Activation | None, *, is_over: bool = False) -> None:
        """Forget an activation; its functions are let go, and their results will be ignored.

        Parameters
        ----------
        is_over
            The task's promise has settled, so the functions are closed and clean up. Otherwise the
            task goes on elsewhere or later, and they are only set aside.
        """
        if activation is None or activation.dropped:
            return
        activation.dropped = True
        del self.activations[activation.id]
        self.warm.pop(activation.id, None)
        self.leave_running(activation, Phase.ENDING)
        for run in activation.runs.values():
            if run.done:
                run.routine.flush = None
            else:
                if run.routine.trace is not None:
                    run.routine.trace.let_go("over" if is_over else "let go")
                run.routine.is_over = is_over
                run.routine.dropped = True
                cancel(run.routine)
                self.executor.close(run)
        # Activation and runs refer to each other. Without this only the garbage collector would
        # free them, and its rounds take longer the more this node holds.
        activation.runs = {}
        activation.root = None
        if self.on_let_go is not None:
            self.on_let_go(activation.id, activation.version)

    def close(self, run: Run) -> None:
        """Close a run whose last step ended after its activation was dropped."""
        run.scheduled = False
        if run.routine.alive:
            run.routine.dropped = True
            self.executor.close(run)
