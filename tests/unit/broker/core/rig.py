"""A core with peers and a store in memory: no socket, no thread, and a clock set by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore, Step
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.events import Event
from understudy_broker.core.outbox import Batch
from understudy_broker.core.pauses import Fact
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
from understudy_store.commands import PromiseCreate, ReadCommand, Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.records import TAG_TARGET, Row, Value

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


class CountingMachine(Machine):
    """A machine that counts its sweeps: each step that is not idle makes one."""

    def __init__(self, *, sharded: bool = False) -> None:
        super().__init__(MachineConfig(sharded=sharded))
        self.sweeps = 0

    def sweep(self, now: int, looked_up_at: int | None = None) -> bool:
        self.sweeps += 1
        return super().sweep(now, looked_up_at)


class Rig:
    """Drives a core as the server does; `inbox` has the unread messages of each peer."""

    def __init__(
        self, engine: MemoryEngine | None = None, start: int = 1_000_000, **config: object
    ) -> None:
        self.now = start
        self.engine = engine or MemoryEngine()
        # Replies come with the commit that they belong to, unless a test says otherwise.
        self.config = BrokerConfig(**{"reply_delay_ms": 0, **config})  # type: ignore[arg-type]
        self.machine = CountingMachine(sharded=self.config.slots is not None)
        self.core = BrokerCore(self.machine, Dispatcher(), self.config)
        self.core.start(self.engine.load(), self.now)
        self.inbox: dict[bytes, list[ToPeer]] = {}
        #: frames in the order in which they left
        self.sent: list[tuple[bytes, list[ToPeer]]] = []
        #: peers that do not take the frames they are sent
        self.slow: set[bytes] = set()
        self.events: list[Event] = []
        #: ids that the core has looked up, one set for each lookup
        self.lookups: list[set[str]] = []
        #: a batch that was handed out and is not committed
        self.batch: Batch | None = None
        #: when the core wanted its next step at the end of the last `turn`
        self.due_at: int | None = None
        self._corr = 0

    # Peers -------------------------------------------------------------------------------------

    def join(self, peer: bytes, name: str, credit: int = 0, **more: object) -> Welcome:
        """Say hello and return the welcome; other messages stay in the inbox."""
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
        return self.reply(peer, self.creation(id_, target, in_ms))

    def creation(self, id_: str, target: str | None = None, in_ms: int = 60_000) -> PromiseCreate:
        tags = {TAG_TARGET: target} if target else {}
        return PromiseCreate(id_, self.now + in_ms, Value({}, b"x"), tags)

    def read(self, command: ReadCommand) -> Read:
        """What the shell is given to read for a command."""
        return Read(command, self.now)

    def take(self, peer: bytes, kind: type[M]) -> list[M]:
        """Take the messages of one kind out of the inbox."""
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

    def step(self) -> Step:
        """One step of the core; its batch waits in `batch` for `commit`."""
        self.core.mark_polled(self.now)
        step = self.core.step(self.now, self.find, self.slow.__contains__)
        self.deliver(step.frames)
        self.events += step.events
        if step.batch is not None:
            assert self.batch is None
            self.batch = step.batch
        return step

    def find(self, ids: set[str]) -> list[Row] | None:
        """Look rows up; at once, unless a test says otherwise."""
        self.lookups.append(ids)
        return self.engine.find(ids)

    def commit(self) -> None:
        """Commit the batch of the last step that had one, and deliver what it owes."""
        batch, self.batch = self.batch, None
        assert batch is not None
        reads = [Read(owed.command, owed.now) for owed in batch.reads]
        replies = self.engine.commit(batch.changes, reads, SOLE_EPOCH)
        self.deliver(self.core.committed(batch, replies))

    def search(self) -> bool:
        """Make the search that is due, if there is one; the next step sends its reply."""
        read = self.core.searches.take()
        if read is None:
            return False
        if isinstance(read, Fact):
            self.engine.put_fact(read.key, read.text)
            self.core.searches.answered(Reply(200))
            return True
        self.core.searches.answered(self.engine.search(read, self.core.config.search_ms / 1000))
        return True

    def turn(self) -> None:
        """Step and commit, until nothing is due and nothing is said."""
        for _ in range(100):
            if self.batch is not None:
                self.commit()
            step = self.step()
            self.due_at = step.due_at
            is_due = step.due_at is not None and step.due_at <= self.now
            searched = self.search()
            goes_on = searched or step.frames or (self.core.has_deferred and not self.slow)
            if step.batch is None and not is_due and not goes_on:
                return
        raise AssertionError("the core is never done")

    def pass_time(self, ms: int, step_ms: int = 100) -> None:
        """Let time pass, in which the core makes steps."""
        until = self.now + ms
        while self.now < until:
            self.now = min(until, self.now + step_ms)
            self.turn()

    def deliver(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        for peer, frame in frames:
            messages = decode_to_peer(frame)
            self.sent.append((peer, messages))
            self.inbox.setdefault(peer, []).extend(messages)
