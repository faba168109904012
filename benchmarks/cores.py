"""The cores of a broker and of two nodes, which exchange their frames in one thread."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Final

from understudy.bench import app
from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Registry
from understudy.values import Codec
from understudy_actors.activation import Run, StepReport
from understudy_actors.interpreter.step_result import StepResult
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Frame
from understudy_broker.link.session import LinkSession, OnReply
from understudy_broker.protocol.frames import decode_to_peer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Hello,
    ToBroker,
    ToPeer,
    Welcome,
)
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import PromiseCreate
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import HEADER_FUNCTION, TAG_TARGET, Row, Value

BROKER: Final = "broker"
CALLEE: Final = "node that is called"
PARENT: Final = "node of the parent"
#: A part of the broker's step.
DISPATCH: Final = "dispatch"
#: Step reports that are processed together: 256 calls in each.
OUTPUTS_TOGETHER: Final = 2
NOW: Final = 10**12
DAY_MS: Final = 86_400_000

#: For each step of the broker: ids that it looked up in the store, and changes that it committed.
Steps = list[tuple[set[str], Changes]]


class Meter:
    """Measures the processor time of this thread by stage, in nanoseconds."""

    def __init__(self) -> None:
        self.spent_ns: dict[tuple[str, str], int] = defaultdict(int)

    @contextmanager
    def __call__(self, where: str, stage: str) -> Iterator[None]:
        began = time.thread_time_ns()
        try:
            yield
        finally:
            self.spent_ns[where, stage] += time.thread_time_ns() - began


class _Broker:
    """A broker's core, in a shell that measures it."""

    def __init__(self, meter: Meter) -> None:
        config = BrokerConfig()
        machine = Machine(MachineConfig(limits=config.limits))
        self.core = BrokerCore(machine, Dispatcher(config.credit_max), config)
        self.meter = meter
        self.steps: Steps = []
        self._wanted: set[str] = set()
        # Dispatch is a part of the step, so it is measured inside the core.
        self._measure(attrgetter("_delivery")(self.core), "dispatch", DISPATCH)
        self.core.start(Snapshot(), NOW)

    def receive(self, peer: bytes, frame: bytes) -> None:
        self.core.receive(peer, frame, NOW)

    def run_step(self) -> dict[bytes, list[bytes]]:
        """Step, commit, and return the frames to send, by peer."""
        self._wanted = set()
        self.core.mark_polled(NOW)
        with self.meter(BROKER, "step"):
            step = self.core.step(NOW, self._find)
        frames: list[Frame] = step.frames
        if step.batch is not None:
            self.steps.append((self._wanted, step.batch.changes))
            with self.meter(BROKER, "committed"):
                frames += self.core.committed(step.batch, [])
        by_peer: dict[bytes, list[bytes]] = {}
        for peer, frame in frames:
            by_peer.setdefault(peer, []).append(frame)
        return by_peer

    def _find(self, ids: set[str]) -> list[Row]:
        self._wanted = ids
        return []  # The machine has all promises in memory, so no lookup finds more.

    def _measure(self, part: object, method: str, stage: str) -> None:
        """Measure the calls of a method as a stage."""
        original = getattr(part, method)

        def measured(*args: object) -> object:
            with self.meter(BROKER, stage):
                return original(*args)

        setattr(part, method, measured)


class _Port:
    """The session of a node, without a socket."""

    def __init__(self) -> None:
        self.link = LinkSession()

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        return self.link.request(command, on_reply)

    def send(self, message: ToBroker) -> bool:
        return self.link.send(message)

    def cork(self) -> None:
        """Do nothing, because all requests wait for `take_frames` anyway."""

    def uncork(self) -> None:
        """Do nothing; see `cork`."""


class _Executor:
    """Keeps runs until they are stepped, and the reports of their steps."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.outputs: deque[StepReport] = deque()

    def submit(self, run: Run) -> None:
        routine = run.routine
        if routine.flush is None and routine.function.kind != "plain":

            def hand_out(output: StepResult) -> None:
                self.outputs.append(StepReport(run, output, False))

            routine.hand_out_to(hand_out, _now)
        self.runs.append(run)

    def withdraw(self, _run: Run) -> bool:
        return False

    def close(self, run: Run) -> None:
        if not run.scheduled:
            run.routine.close()

    def step(self) -> None:
        """Step all runs that were submitted."""
        runs, self.runs = self.runs, []
        for run in runs:
            self.outputs.append(StepReport(run, run.routine.step(NOW)))


class _Node:
    """A node's cores; `peer` is its name for the broker, `where` its name for the meter."""

    def __init__(self, where: str, env: NodeEnvironment, config: NodeConfig, meter: Meter) -> None:
        self.where = where
        self.peer = where.encode()
        self.meter = meter
        self.port = _Port()
        self.executor = _Executor()
        self.core = NodeCore(env, self.port, self.executor, config)

    def hello(self) -> list[bytes]:
        name = self.where.replace(" ", "-")
        credit = self.core.new_session(self.port.link)
        hello = Hello(PROTOCOL_VERSION, "node", "bench", name, "1", 1, "host", "0", credit)
        return [self.port.link.open(hello, NOW)]

    def take(self, frames: Sequence[bytes]) -> None:
        """Receive frames of the broker."""
        link, meter = self.port.link, self.meter
        for frame in frames:
            with meter(self.where, "decode"):
                messages: list[ToPeer] = decode_to_peer(frame) if link.accepts(frame) else []
            with meter(self.where, "replies"):
                rest = link.receive(messages, NOW)
            rest = [message for message in rest if type(message) is not Welcome]
            with meter(self.where, "receive"):
                self.core.receive(rest, NOW, self.port.link)

    def step(self) -> None:
        with self.meter(self.where, "step"):
            self.executor.step()

    def frames(self, outputs_max: int, *, grant: bool) -> list[bytes]:
        """Process some step reports; return the frames to send. If `grant`, ask for more work."""
        outputs = self.executor.outputs
        taken = [outputs.popleft() for _ in range(min(outputs_max, len(outputs)))]
        with self.meter(self.where, "stepped"):
            self.core.stepped(taken, NOW)
            if grant:
                self.core.grant()
        with self.meter(self.where, "frames"):
            return self.port.link.take_frames(NOW)


class FanOut:
    """A fan-out: one durable parent and its calls."""

    def __init__(self, calls: int, meter: Meter) -> None:
        self.calls = calls
        self.broker = _Broker(meter)
        self.env = _environment()
        # Its concurrency of one has room for the parent and nothing else.
        self.parent = _Node(PARENT, self.env, NodeConfig(concurrency=1), meter)
        self.callee = _Node(CALLEE, self.env, NodeConfig(), meter)
        self.meter = meter

    def begin(self) -> None:
        """Connect both nodes, and hand the parent to its own node."""
        for node in (self.parent, self.callee):
            self._deliver(node, node.hello())
        self.parent.core.serve()
        self._deliver(self.parent, self.parent.port.link.take_frames(NOW))
        data = self.env.values.encode_call(None, (self.calls,), {})
        param = Value({HEADER_FUNCTION: "fan_out"}, data)
        root = PromiseCreate("root", NOW + DAY_MS, param, {TAG_TARGET: self.env.target})
        self.parent.port.link.request(root, lambda _: None)
        self._deliver(self.parent, self.parent.port.link.take_frames(NOW))
        if not self.parent.executor.runs:
            raise AssertionError("the parent was not handed out")
        # The node asks for more work if steps are known to be quick, so tell it.
        self.callee.core.credit.policy.observe(1, 0.001)
        self.callee.core.serve()
        self._deliver(self.callee, self.callee.port.link.take_frames(NOW))

    def run(self) -> None:
        """Run all calls, and check the counts."""
        parent, callee = self.parent, self.callee
        while not parent.core.state.done:
            if not parent.executor.outputs:
                if not parent.executor.runs:
                    raise AssertionError("the parent waits for nothing")
                parent.step()
            self._deliver(parent, parent.frames(OUTPUTS_TOGETHER, grant=False))
            callee.step()
            self._deliver(callee, callee.frames(len(callee.executor.outputs), grant=True))
        if (
            parent.core.state.failed
            or callee.core.state.failed
            or callee.core.state.done != self.calls
        ):
            raise AssertionError(f"{callee.core.state.done} of {self.calls} calls were performed")

    def _deliver(self, node: _Node, frames: Sequence[bytes]) -> None:
        """Deliver frames to the broker, and its frames to both nodes."""
        with self.meter(BROKER, "receive"):
            for frame in frames:
                self.broker.receive(node.peer, frame)
        frames_by_peer = self.broker.run_step()
        for each in (self.parent, self.callee):
            each.take(frames_by_peer.get(each.peer, ()))


def _environment() -> NodeEnvironment:
    env = NodeEnvironment(Registry(), Codec(), group="bench", timeout_s=DAY_MS / 1000)
    for function in (app.noop, app.fan_out):
        env.registry.register(function)
    return env


def _now() -> int:
    return NOW
