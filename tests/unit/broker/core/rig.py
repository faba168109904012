"""A core with peers and a store in memory: no socket, no thread, a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Batch
from understudy_broker.protocol.frames import decode_to_peer, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Hello,
    Message,
    PeerKind,
    Refused,
    Request,
    Response,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate, Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import TAG_TARGET, Value

M = TypeVar("M", bound=Message)


def hello(
    name: str,
    *,
    group: str = "g",
    kind: PeerKind = "node",
    boot: str = "1",
    credit: int = 0,
    claims: tuple[tuple[str, int], ...] = (),
    protocol: int = PROTOCOL_VERSION,
) -> Hello:
    return Hello(protocol, kind, group, name, boot, 1, "host", "test", credit, (), claims)


class Rig:
    """Drives a core as the shell does; `inbox` has what each peer was sent and has not read."""

    def __init__(
        self, engine: MemoryEngine | None = None, start: int = 1_000_000, **config: int
    ) -> None:
        self.now = start
        self.engine = engine or MemoryEngine()
        # answers come in the turn that they are made in, unless a test says otherwise
        self.config = BrokerConfig(**{"patience_ms": 0, **config})  # type: ignore[arg-type]
        self.core = BrokerCore(Machine(MachineConfig()), Dispatcher(), self.config)
        self.core.start(self.engine.load(), self.now)
        self.inbox: dict[bytes, list[ToPeer]] = {}
        #: frames in the order in which they left
        self.sent: list[tuple[bytes, list[ToPeer]]] = []
        #: peers that do not take what they are sent
        self.slow: set[bytes] = set()
        self._corr = 0

    # Peers -------------------------------------------------------------------------------------

    def join(self, peer: bytes, name: str, credit: int = 0, **more: object) -> Welcome:
        """Say hello and return the welcome; what was sent beside it stays in the inbox."""
        self.send(peer, hello(name, credit=credit, **more))  # type: ignore[arg-type]
        self.turn()
        return self.one(peer, Welcome)

    def send(self, peer: bytes, *messages: Message) -> None:
        self.core.receive(peer, encode(messages), self.now)

    def ask(self, peer: bytes, command: AnyCommand) -> int:
        self._corr += 1
        self.send(peer, Request(self._corr, command))
        return self._corr

    def reply(self, peer: bytes, command: AnyCommand) -> Reply:
        """Ask, turn, and take the reply."""
        corr = self.ask(peer, command)
        self.turn()
        found = [m for m in self.take(peer, Response) if m.corr == corr]
        assert len(found) == 1, self.inbox
        return found[0].reply

    def create(self, peer: bytes, id_: str, target: str | None = "g", in_ms: int = 60_000) -> Reply:
        tags = {TAG_TARGET: target} if target else {}
        return self.reply(peer, PromiseCreate(id_, self.now + in_ms, Value({}, b"x"), tags))

    def take(self, peer: bytes, kind: type[M]) -> list[M]:
        """Messages of one kind, out of the inbox."""
        box = self.inbox.get(peer, [])
        found: list[M] = [message for message in box if isinstance(message, kind)]
        self.inbox[peer] = [message for message in box if not isinstance(message, kind)]
        return found

    def one(self, peer: bytes, kind: type[M]) -> M:
        found = self.take(peer, kind)
        assert len(found) == 1, (kind, found, self.inbox)
        return found[0]

    def refused(self, peer: bytes) -> int:
        return self.one(peer, Refused).status

    # The shell ---------------------------------------------------------------------------------

    def apply(self) -> None:
        """Everything up to the commit."""
        core, now = self.core, self.now
        core.polled(now)
        for peer in core.burdens.sent:
            if peer not in self.slow:
                core.drained(peer)
        wanted = core.lookups(now)
        core.load(self.engine.find(wanted))
        core.apply(now)
        self.deliver(core.take_urgent())

    def commit(self, batch: Batch) -> None:
        reads = [Read(owed.command, owed.now) for owed in batch.reads]
        self.deliver(
            self.core.committed(batch, self.engine.commit(batch.changes, reads, SOLE_EPOCH))
        )

    def turn(self) -> None:
        """Apply and commit, until nothing is due."""
        for _ in range(100):
            self.apply()
            batch = self.core.take_batch()
            if batch is not None:
                self.commit(batch)
            due = self.core.next_due(self.now)
            if batch is None and (due is None or due > self.now):
                return
        raise AssertionError("the core is never done")

    def pass_time(self, ms: int, step_ms: int = 100) -> None:
        """Time goes by, and the core listens all the while."""
        until = self.now + ms
        while self.now < until:
            self.now = min(until, self.now + step_ms)
            self.turn()

    def deliver(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        for peer, frame in frames:
            messages = decode_to_peer(frame)
            self.sent.append((peer, messages))
            self.inbox.setdefault(peer, []).extend(messages)
