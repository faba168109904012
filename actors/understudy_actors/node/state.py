"""What a node holds, and the moves that everything else is made of. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from understudy_actors.activation import Activation, Phase, Run
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.step_result import ChildCommand
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.credit import CreditPolicy
from understudy_actors.node.ports import BrokerPort, ExecutorPort
from understudy_store.records import TAG_BRANCH, PromiseRecord

#: takes a line that a person should see
Log = Callable[[str], None]
#: takes a line and the exception that a function ended with
LogFailure = Callable[[str, BaseException], None]


class RunCommands:
    """Commands of one run that are to go in one fence: first those that its flow control counts."""

    __slots__ = ("counted", "others")

    def __init__(self) -> None:
        self.counted: list[ChildCommand] = []
        self.others: list[ChildCommand] = []


class NodeState:
    """The activations of one node; `NodeCore` adds what messages and steps mean."""

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
        #: told of every call that failed for good
        self.log_failure: LogFailure | None = None
        self.activations: dict[str, Activation] = {}
        self.serving = False
        self._warm: OrderedDict[str, None] = OrderedDict()
        self._lingering: deque[tuple[int, Activation]] = deque()
        self._retries: list[tuple[int, Run]] = []
        #: what runs ask for while several results are taken in: a fence for each run then
        self._fences: dict[Run, RunCommands] = {}
        self._gathering = False
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

    def _schedule(self, run: Run) -> None:
        if not run.scheduled and not run.done:
            run.scheduled = True
            run.activation.busy += 1
            self.executor.submit(run)

    def learn(self, record: PromiseRecord) -> None:
        """A promise settled; wake whoever waits for it."""
        for run in self._strangers.pop(record.id, ()):
            self._tell(run, record)
        activation = self.activations.get(record.tags.get(TAG_BRANCH, ""))
        if activation is not None:
            owner = activation.run_of(record)
            if owner is not None:
                self._tell(owner, record)

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

    def _leave_running(self, activation: Activation) -> None:
        if activation.phase is Phase.RUNNING:
            self._running -= 1

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
            if run.done:
                run.routine.flush = None
            else:
                run.routine.dropped = True
                self.executor.close(run)
        # they refer to one another: left so, only the garbage collector would find them, and its
        # rounds take longer the more this node holds
        activation.runs = {}
        activation.root = None

    def _close(self, run: Run) -> None:
        run.scheduled = False
        if run.routine.alive:
            run.routine.dropped = True
            self.executor.close(run)
