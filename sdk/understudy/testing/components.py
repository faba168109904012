"""The parts of a world: a broker with its store in memory, peers, and nodes. No socket, no clock.

Each is a pure core of the real thing with the least around it that a shell does; the frames that
pass between them are the real ones, byte for byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from understudy._version import __version__
from understudy.client.node_environment import NodeEnvironment
from understudy_actors.activation import StepReport
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_actors.node.ports import OnReply
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Frame
from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import decode_to_peer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Hello,
    PeerKind,
    Settled,
    ToBroker,
    ToPeer,
    Welcome,
)
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import PromiseRecord

#: no lease lapses here, and what is owed to a node is not lost, so it need not be offered again
_NEVER_MS: Final = 1 << 40
#: rounds in which a broker must come to rest
_ROUNDS_MAX: Final = 10_000

#: how a node works here: it gives up its lease as soon as it waits
NODE_CONFIG: Final = NodeConfig(linger_ms=0)


def broker_config() -> BrokerConfig:
    """A dead node's tasks go to others at once, so that a crash takes no time. Leases never lapse:
    their holders are here, and time that is skipped is no silence."""
    return BrokerConfig(
        name="stage",
        lease_ttl_ms=_NEVER_MS,
        reconnect_grace_ms=0,
        boot_grace_ms=0,
        # nodes die because a test kills them: no function is to blame
        deaths_max=0,
        # each answer comes with the commit that it is about
        reply_delay_ms=0,
        inflight_max=1 << 30,
        inflight_bytes_max=1 << 50,
        outgoing_bytes_max=1 << 50,
        watches_max=1 << 30,
    )


class Broker:
    """The broker's core on a store in memory."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.engine = MemoryEngine()
        self.core = BrokerCore(
            Machine(MachineConfig(retry_timeout_ms=_NEVER_MS)), Dispatcher(), broker_config()
        )
        self.core.start(self.engine.load(), now_ms())
        self._peers: dict[bytes, Peer] = {}

    def join(self, peer: Peer) -> None:
        self._peers[peer.routing_id] = peer

    def leave(self, peer: Peer) -> None:
        """The peer's process is dead; the kernel says so at once."""
        if self._peers.pop(peer.routing_id, None) is not None:
            self.core.connection_lost(peer.routing_id, self._now_ms())

    def receive(self, peer: Peer, frame: bytes) -> None:
        self.core.receive(peer.routing_id, frame, self._now_ms())

    def turn(self) -> None:
        """Apply, commit and send, until nothing is due."""
        for _ in range(_ROUNDS_MAX):
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
            elif step.due_at is None or step.due_at > now:
                return
        raise AssertionError("the broker never comes to rest")

    def next_due(self) -> int | None:
        """When the store has something to do that is not for a peer to start."""
        return self.core.machine.next_due()

    def find(self, id: str) -> PromiseRecord | None:
        """The promise as committed."""
        rows = self.engine.find([id])
        return rows[0].promise if rows else None

    def settled(self, ids: set[str]) -> set[str]:
        """Those of `ids` whose result is stored."""
        return {row.promise.id for row in self.engine.find(ids) if row.promise.settled}

    def _send(self, frames: list[Frame]) -> None:
        for routing_id, frame in frames:
            peer = self._peers.get(routing_id)
            if peer is not None:
                peer.inbox.append(decode_to_peer(frame))


class Peer:
    """One end of a session, with what is on its way in both directions (`BrokerPort`)."""

    kind: PeerKind = "client"

    def __init__(self, broker: Broker, now_ms: Callable[[], int], group: str, name: str) -> None:
        self.broker = broker
        self.now_ms = now_ms
        self.group = group
        self.name = name
        self.boot = "0"
        self.link = LinkSession()
        #: frames to the broker, in the order in which they were made
        self.outbox: deque[bytes] = deque()
        self.inbox: deque[list[ToPeer]] = deque()
        #: told of every promise that settled and is watched
        self.on_settled: Callable[[list[PromiseRecord]], None] | None = None

    @property
    def routing_id(self) -> bytes:
        return f"{self.name}#{self.boot}".encode()

    def connect(self, credit: int = 0, functions: tuple[str, ...] = ()) -> None:
        self.broker.join(self)
        sdk = f"python {__version__}"
        hello = Hello(
            PROTOCOL_VERSION, self.kind, self.group, self.name, self.boot, 0, "stage", sdk, credit,
            functions,
        )  # fmt: skip
        self.outbox.append(self.link.open(hello, self.now_ms()))

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        corr = self.link.request(command, on_reply)
        self.flush()
        return corr

    def send(self, message: ToBroker) -> bool:
        sent = self.link.send(message)
        self.flush()
        return sent

    def cork(self) -> None:
        """Each request travels alone here, so that a crash may come between any two."""

    def uncork(self) -> None: ...

    def flush(self) -> None:
        self.outbox += self.link.take_frames(self.now_ms())

    def take_in(self) -> None:
        """What the broker sent first, and has not been read."""
        rest = self.link.receive(self.inbox.popleft(), self.now_ms())
        if self.on_settled is not None:
            for message in rest:
                if isinstance(message, Settled):
                    self.on_settled(message.promises)
        self.heard(rest)
        self.flush()

    def heard(self, messages: list[ToPeer]) -> None:
        """What is no answer to a request."""


class Node(Peer):
    """A node of a group: the node's core, and what it has queued to run."""

    kind = "node"

    def __init__(
        self,
        broker: Broker,
        now_ms: Callable[[], int],
        env: NodeEnvironment,
        name: str,
        boot: int,
        executor: Any,
        log: Callable[[str], None] | None,
    ) -> None:
        super().__init__(broker, now_ms, env.group, name)
        self.boot = str(boot)
        self.env = env
        self.dead = False
        self.executor = executor
        self.core = NodeCore(env, self, executor, NODE_CONFIG, log=log)
        self.core.serve()

    def start(self) -> None:
        self.connect(self.core.new_session(), tuple(self.env.functions.names()))

    def heard(self, messages: list[ToPeer]) -> None:
        for message in messages:
            if isinstance(message, Welcome):
                self.core.connected(message.lost, False)
        self.core.receive([m for m in messages if not isinstance(m, Welcome)], self.now_ms())
        self.core.grant()

    def stepped(self, report: StepReport) -> None:
        self.core.stepped([report], self.now_ms())
        self.core.grant()

    def tick(self) -> bool:
        """Do what is due; False: nothing is."""
        due = self.core.next_due()
        if due is None or due > self.now_ms():
            return False
        self.core.tick(self.now_ms())
        self.core.grant()
        return True


__all__ = ["Broker", "Node", "Peer"]
