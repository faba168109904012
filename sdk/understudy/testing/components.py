"""The components of a simulation: a broker with its store in memory, peers and nodes.

Each is a pure core of the product in the smallest possible shell, without sockets and clocks. The
frames that pass between them are the real ones, byte for byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from understudy._version import __version__
from understudy.client.node_environment import NodeEnvironment
from understudy.testing.executor import SimulatedExecutor
from understudy_actors.activation import StepReport
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_actors.node.ports import OnReply
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Frame
from understudy_broker.core.pauses import Fact
from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import decode_to_peer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Functions,
    Hello,
    PeerKind,
    Settled,
    ToBroker,
    ToPeer,
    Welcome,
)
from understudy_store.commands import Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import PromiseRecord, pid_of
from understudy_store.zones import system_zone

#: No lease lapses here. Pushes are never lost, so the store need not repeat them either.
_NEVER_MS: Final = 1 << 40
#: Steps after which a broker that still has something to do is taken for broken.
_STEPS_MAX: Final = 10_000

#: A node suspends a task as soon as the task waits, because lingering would take time.
NODE_CONFIG: Final = NodeConfig(linger_ms=0)


def broker_config() -> BrokerConfig:
    """Return the configuration of a simulated broker.

    The tasks of a dead node go to other nodes at once, so that a crash takes no time. Leases never
    lapse, because time that is skipped does not mean that a node is silent.
    """
    return BrokerConfig(
        name="stage",
        lease_ttl_ms=_NEVER_MS,
        reconnect_grace_ms=0,
        boot_grace_ms=0,
        # Nodes die because a test kills them, so no function is to blame.
        deaths_max=0,
        # Each reply is sent with its commit, so that every checkpoint has one subject.
        reply_delay_ms=0,
        inflight_max=1 << 30,
        inflight_bytes_max=1 << 50,
        outgoing_bytes_max=1 << 50,
        watches_max=1 << 30,
    )


class Broker:
    """The broker's core with a store in memory."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.engine = MemoryEngine()
        self.core = BrokerCore(
            Machine(MachineConfig(retry_timeout_ms=_NEVER_MS, zones=system_zone)),
            Dispatcher(),
            broker_config(),
        )
        self.core.start(self.engine.load(), now_ms())
        self._peers: dict[bytes, Peer] = {}

    def connect(self, peer: Peer) -> None:
        """Open a connection to a peer."""
        self._peers[peer.routing_id] = peer

    def disconnect(self, peer: Peer) -> None:
        """Close the connection to a peer whose process is dead, as the kernel would."""
        if self._peers.pop(peer.routing_id, None) is not None:
            self.core.connection_lost(peer.routing_id, self._now_ms())

    def receive(self, peer: Peer, frame: bytes) -> None:
        """Receive a frame; `run` processes it."""
        self.core.receive(peer.routing_id, frame, self._now_ms())

    def run(self) -> None:
        """Step the core, commit and send, until nothing is due."""
        for _ in range(_STEPS_MAX):
            now = self._now_ms()
            core = self.core
            core.mark_polled(now)
            step = core.step(now, self.engine.find)
            self._send(step.frames)
            batch = step.batch
            if batch is not None:
                reads = [Read(owed.command, owed.now) for owed in batch.reads]
                replies = self.engine.commit(batch.changes, reads, SOLE_EPOCH)
                self._send(core.committed(batch, replies))
            read = core.searches.take()
            if isinstance(read, Fact):
                self.engine.put_fact(read.key, read.text)
                core.searches.answered(Reply(200))
            elif read is not None:
                core.searches.answered(self.engine.search(read, core.config.search_ms / 1000))
            elif batch is None and (step.due_at is None or step.due_at > now):
                return
        raise AssertionError(f"the broker still has something to do after {_STEPS_MAX} steps")

    def next_due(self) -> int | None:
        """Return when the store must do something by itself, in epoch milliseconds."""
        return self.core.machine.next_due()

    def find(self, id: str) -> PromiseRecord | None:
        """Return the promise `id` as it was last committed; None if there is none."""
        rows = self.engine.find([id])
        return rows[0].promise if rows else None

    def settled(self, ids: set[str]) -> set[str]:
        """Return those of `ids` that are settled, as last committed."""
        return {row.promise.id for row in self.engine.find(ids) if row.promise.settled}

    def _send(self, frames: list[Frame]) -> None:
        for routing_id, frame in frames:
            peer = self._peers.get(routing_id)
            if peer is not None:
                peer.inbox.append(decode_to_peer(frame))


class Peer:
    """A peer's session, and the frames on their way in both directions (a `BrokerPort`)."""

    kind: PeerKind = "client"

    def __init__(self, broker: Broker, now_ms: Callable[[], int], group: str, name: str) -> None:
        self.broker = broker
        self.now_ms = now_ms
        self.group = group
        self.name = name
        self.boot = "0"
        self.link = LinkSession()
        #: Frames to the broker, the oldest first.
        self.outbox: deque[bytes] = deque()
        self.inbox: deque[list[ToPeer]] = deque()
        #: Gets the watched promises that have settled.
        self.on_settled: Callable[[list[PromiseRecord]], None] | None = None

    @property
    def routing_id(self) -> bytes:
        """The bytes by which the broker's socket would tell this peer from others."""
        return pid_of(self.name, self.boot).encode()

    @property
    def connected(self) -> bool:
        """True once the broker has welcomed this peer."""
        return self.link.connected

    def connect(
        self,
        credit: int = 0,
        functions: Sequence[tuple[str, int]] = (),
        concurrency: int | None = None,
    ) -> None:
        """Connect to the broker and say hello, with the names and versions of all functions."""
        self.broker.connect(self)
        sdk = f"python {__version__}"
        hello = Hello(
            PROTOCOL_VERSION, self.kind, self.group, self.name, self.boot, 0, "stage", sdk, credit,
            tuple(name for name, _ in functions), concurrency=concurrency,
            versions=tuple(version for _, version in functions),
        )  # fmt: skip
        self.outbox.append(self.link.open(hello, self.now_ms()))

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        """Send a command; return its correlation number."""
        corr = self.link.request(command, on_reply)
        self.flush()
        return corr

    def send(self, message: ToBroker) -> bool:
        """Send a message that gets no reply."""
        sent = self.link.send(message)
        self.flush()
        return sent

    def cork(self) -> None:
        """Do nothing: each request travels alone, so that a crash may come between any two."""

    def uncork(self) -> None:
        """Do nothing; see `cork`."""

    def flush(self) -> None:
        """Put all that the session has to send into the outbox."""
        self.outbox += self.link.take_frames(self.now_ms())

    def receive_next(self) -> None:
        """Receive the oldest frame in the inbox."""
        pushes = self.link.receive(self.inbox.popleft(), self.now_ms())
        if self.on_settled is not None:
            for message in pushes:
                if isinstance(message, Settled):
                    self.on_settled(message.promises)
        self.on_pushes(pushes)
        self.flush()

    def on_pushes(self, messages: list[ToPeer]) -> None:
        """Handle the messages that answer no request."""


class Node(Peer):
    """A node of a group: the node's core and its executor."""

    kind = "node"

    def __init__(
        self,
        broker: Broker,
        now_ms: Callable[[], int],
        env: NodeEnvironment,
        name: str,
        boot: int,
        executor: SimulatedExecutor,
        log: Callable[[str], None] | None,
    ) -> None:
        super().__init__(broker, now_ms, env.group, name)
        self.boot = str(boot)
        self.env = env
        self.dead = False
        self._announced: list[tuple[str, int]] = []
        self.executor = executor
        self.core = NodeCore(env, self, executor, NODE_CONFIG, log=log)
        self.core.serve()

    def start(self) -> None:
        """Connect, and ask for work."""
        self._announced = list(self.env.functions.announced())
        self.connect(self.core.new_session(self), self._announced, NODE_CONFIG.concurrency)

    def announce(self) -> None:
        """Tell the broker of functions that were registered since the node started."""
        known, self._announced = self._announced, list(self.env.functions.announced())
        new = [function for function in self._announced if function not in known]
        if new:
            names, versions = zip(*new, strict=True)
            self.send(Functions(names, versions))

    def on_pushes(self, messages: list[ToPeer]) -> None:
        """Hand the messages to the node's core."""
        for message in messages:
            if isinstance(message, Welcome):
                self.core.connected((), False)
        rest = [message for message in messages if not isinstance(message, Welcome)]
        self.core.receive(rest, self.now_ms(), self)
        self.core.grant()

    def on_stepped(self, report: StepReport) -> None:
        """Hand the report of a step to the node's core."""
        self.core.stepped([report], self.now_ms())
        self.core.grant()

    def tick(self) -> bool:
        """Do what is due; return whether anything was."""
        due = self.core.next_due()
        if due is None or due > self.now_ms():
            return False
        self.core.tick(self.now_ms())
        self.core.grant()
        return True
