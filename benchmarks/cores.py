"""The cores of a broker and of two nodes, which hand their frames to one another in one thread."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
#: a part of the broker's step
DISPATCH: Final = "dispatch"
#: outputs of a step that go out together: 256 calls in each
OUTPUTS_TOGETHER: Final = 2
NOW: Final = 10**12
DAY_MS: Final = 86_400_000

#: ids that a turn of the broker looks for in the store, and what it then writes there
Turns = list[tuple[set[str], Changes]]


class Meter:
    """Processor time of this thread by stage, in nanoseconds."""

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
    """A broker's core in a shell that measures."""

    def __init__(self, meter: Meter) -> None:
        config = BrokerConfig()
        machine = Machine(MachineConfig(limits=config.limits))
        self.core = BrokerCore(machine, Dispatcher(config.credit_max), config)
        self.meter = meter
        self.turns: Turns = []
        self._wanted: set[str] = set()
        self._measure(self.core, "_dispatch", DISPATCH)
        self.core.start(Snapshot(), NOW)

    def receive(self, peer: bytes, frame: bytes) -> None:
        self.core.receive(peer, frame, NOW)

    def turn(self) -> dict[bytes, list[bytes]]:
        """Perform what was received, commit it, and give the frames that go out, by peer."""
        self._wanted = set()
        self.core.mark_polled(NOW)
        with self.meter(BROKER, "step"):
            step = self.core.step(NOW, self._find)
        frames: list[Frame] = step.frames
        if step.batch is not None:
            self.turns.append((self._wanted, step.batch.changes))
            with self.meter(BROKER, "committed"):
                frames += self.core.committed(step.batch, [])
        by_peer: dict[bytes, list[bytes]] = {}
        for peer, frame in frames:
            by_peer.setdefault(peer, []).append(frame)
        return by_peer

    def _find(self, ids: set[str]) -> list[Row]:
        self._wanted = ids
        return []  # nothing is in the store that is not here

    def _measure(self, part: object, method: str, stage: str) -> None:
        """Measure each call of a method as a stage."""
        original = getattr(part, method)

        def measured(*args: object) -> object:
            with self.meter(BROKER, stage):
                return original(*args)

        setattr(part, method, measured)


class _Port:
    """The link of a node, up to its socket."""

    def __init__(self) -> None:
        self.link = LinkSession()

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        return self.link.request(command, on_reply)

    def send(self, message: ToBroker) -> bool:
        return self.link.send(message)

    def cork(self) -> None:
        """All that is asked waits for `take_frames` anyway."""

    def uncork(self) -> None: ...


class _Executor:
    """Keeps runs until they are stepped, and what steps hand out."""

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
        """All that was submitted."""
        runs, self.runs = self.runs, []
        for run in runs:
            self.outputs.append(StepReport(run, run.routine.step(NOW)))


class _Node:
    """A node's cores; `peer` is what it is to the broker, `where` to the meter."""

    def __init__(self, where: str, env: NodeEnvironment, config: NodeConfig, meter: Meter) -> None:
        self.where = where
        self.peer = where.encode()
        self.meter = meter
        self.port = _Port()
        self.executor = _Executor()
        self.core = NodeCore(env, self.port, self.executor, config)

    def hello(self) -> list[bytes]:
        name = self.where.replace(" ", "-")
        hello = Hello(PROTOCOL_VERSION, "node", "bench", name, "1", 1, "host", "0")
        return [self.port.link.open(hello, NOW)]

    def take(self, frames: Sequence[bytes]) -> None:
        """Frames of the broker."""
        link, meter = self.port.link, self.meter
        for frame in frames:
            with meter(self.where, "decode"):
                messages: list[ToPeer] = decode_to_peer(frame) if link.accepts(frame) else []
            with meter(self.where, "answers"):
                rest = link.receive(messages, NOW)
            rest = [message for message in rest if type(message) is not Welcome]
            with meter(self.where, "receive"):
                self.core.receive(rest, NOW)

    def step(self) -> None:
        with self.meter(self.where, "step"):
            self.executor.step()

    def frames(self, outputs_max: int, *, grant: bool) -> list[bytes]:
        """What to send after so many outputs of steps; `grant`: ask for more work too."""
        outputs = self.executor.outputs
        taken = [outputs.popleft() for _ in range(min(outputs_max, len(outputs)))]
        with self.meter(self.where, "stepped"):
            self.core.stepped(taken, NOW)
            if grant:
                self.core.grant()
        with self.meter(self.where, "frames"):
            return self.port.link.take_frames(NOW)


class FanOut:
    """One durable parent and its calls, from the first to the last."""

    def __init__(self, calls: int, meter: Meter) -> None:
        self.calls = calls
        self.broker = _Broker(meter)
        self.env = _environment()
        # room for the parent, and for nothing else
        self.parent = _Node(PARENT, self.env, NodeConfig(concurrency=1), meter)
        self.callee = _Node(CALLEE, self.env, NodeConfig(), meter)
        self.meter = meter

    def begin(self) -> None:
        """Both nodes are there, and the parent is handed out to its own."""
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
        # as if its steps had been measured, and were quick
        self.callee.core.credit.policy.observe(1, 0.001)
        self.callee.core.serve()
        self._deliver(self.callee, self.callee.port.link.take_frames(NOW))

    def run(self) -> None:
        """All calls; checks what comes out."""
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
        """To the broker, and what it then says to both nodes."""
        with self.meter(BROKER, "receive"):
            for frame in frames:
                self.broker.receive(node.peer, frame)
        said = self.broker.turn()
        for each in (self.parent, self.callee):
            each.take(said.get(each.peer, ()))


def _environment() -> NodeEnvironment:
    env = NodeEnvironment(Registry(), Codec(), group="bench", timeout_s=DAY_MS / 1000)
    for function in (app.noop, app.fan_out):
        env.registry.register(function)
    return env


def _now() -> int:
    return NOW
