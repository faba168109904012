"""The messages between a broker and its peers.

A peer is a *node* (serves the functions of a group) or a *client* (only asks). One ZeroMQ frame
carries a list of messages in order; see `frames`. A connection begins with `Hello`, answered by
`Welcome` or `Refused`.

What may be repeated without harm: `Hello` (same boot), `Credit` (cumulative), `Beat`, `Ack`, and
any `Request` (every command is idempotent on its id or fenced by a version), so a peer that lost
its connection opens a new one and sends again all that was not answered.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from understudy_store.commands import PromiseCreate, Reply, StoreCommand
from understudy_store.records import PromiseRecord

PeerKind: TypeAlias = Literal["node", "client"]


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all messages."""


# Commands that the broker itself answers ---------------------------------------------------------


class PromiseWatch(Message, tag="promise.watch", frozen=True):
    """Tell this connection of the settlement of each id: reply 200, `promises` = those settled
    already (the others follow as `Settled`); 404 names the first absent id. Lives in memory; a peer
    that reconnects sends its watches again."""

    ids: tuple[str, ...]


class PromiseCreateWatched(Message, tag="promise.create_watched", frozen=True):
    """`create`, and a watch of what it made or found: one request for what every caller needs.

    Replies as `create`, but for `promise`: it is left out where `create` has made it, since who
    asked has all of it, unless it has settled already. If it is there and pending, its settlement
    follows as `Settled`."""

    create: PromiseCreate


class PromiseUnwatch(Message, tag="promise.unwatch", frozen=True):
    ids: tuple[str, ...]


class GroupsGet(Message, tag="groups.get", frozen=True):
    """Reply 200 with a `GroupsReport` in the response's `report`."""


class NodeInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One connected node, as `understudy groups` shows it; `silent_ms`: since it was last heard."""

    name: str
    pid: str
    os_pid: int
    host: str
    credit: int
    held: int
    silent_ms: int
    functions: tuple[str, ...] = ()


class GroupInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A group: its nodes, and how many tasks wait for one of them (oldest for `waiting_ms`)."""

    name: str
    nodes: tuple[NodeInfo, ...]
    queued: int
    waiting_ms: int


class GroupsReport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All groups, and what the broker counted since it started (name to number)."""

    groups: tuple[GroupInfo, ...]
    counters: dict[str, int]


AnyCommand: TypeAlias = (
    StoreCommand | PromiseCreateWatched | PromiseWatch | PromiseUnwatch | GroupsGet
)

# Peer to broker ----------------------------------------------------------------------------------


class Hello(Message, tag="hello", frozen=True):
    """Who this is. `boot` is random for each start of the process: with the name it makes the
    ``pid`` that holds leases, ``name#boot``. `claims`: tasks that it holds from before a reconnect.
    `credit`: as in `Credit`, counted anew from this hello."""

    protocol: int
    kind: PeerKind
    group: str
    name: str
    boot: str
    os_pid: int
    host: str
    sdk: str
    credit: int = 0
    functions: tuple[str, ...] = ()
    claims: tuple[tuple[str, int], ...] = ()


class Request(Message, tag="request", frozen=True):
    """A command; `corr` is chosen by the peer and comes back in the `Response`."""

    corr: int
    command: AnyCommand


class Credit(Message, tag="credit", frozen=True):
    """How many tasks this node has had room for since its `Hello`, in all: a running total, so that
    a repeated or late message does no harm. It may be sent that many in all."""

    total: int


class Beat(Message, tag="beat", frozen=True):
    """Alive: renews the lease on all that this pid holds. Answered by `Beat`. Sent every `beat_ms`
    of `Welcome`; every `idle_beat_ms` will do while nothing is held, asked or waited for."""


class Ack(Message, tag="ack", frozen=True):
    """The `Unblock` for (promise, address) has arrived."""

    id: str
    address: str


class Bye(Message, tag="bye", frozen=True):
    """Leaves: gets no more work, and what it still holds is given to others at once."""


# Broker to peer ----------------------------------------------------------------------------------


class Welcome(Message, tag="welcome", frozen=True):
    """`lost`: claims that are no longer this node's. `beat_ms`: how often to send `Beat`.
    `inflight_max`: requests that may be unanswered at a time."""

    protocol: int
    broker: str
    pid: str
    lease_ttl_ms: int
    beat_ms: int
    inflight_max: int
    frame_bytes_max: int
    payload_bytes_max: int
    lost: tuple[str, ...] = ()
    #: what the broker's clock shows, epoch milliseconds: deadlines are counted by it
    now: int = 0

    @property
    def idle_beat_ms(self) -> int:
        """How often to send `Beat` with nothing at stake: soon enough that what is handed over
        between two of them keeps its lease."""
        return max(self.beat_ms, min(IDLE_BEATS * self.beat_ms, self.lease_ttl_ms * 3 // 4))


class Response(Message, tag="response", frozen=True):
    corr: int
    reply: Reply
    report: GroupsReport | None = None


class Invoke(Message, tag="invoke", frozen=True):
    """Perform this task; it is already acquired for you. First attempt, nothing known yet."""

    promise: PromiseRecord
    version: int


class Resume(Message, tag="resume", frozen=True):
    """Go on with this task; it is already acquired for you.

    `preload` is all its children. None: you were the last to hold it and were told of everything
    since; if you no longer have it warm, ask with `TaskPreload`."""

    promise: PromiseRecord
    version: int
    preload: list[PromiseRecord] | None
    #: how often its function has raised and was to be tried again
    failures: int = 0


class Settled(Message, tag="settled", frozen=True):
    """Promises that settled: those watched, and those created under tasks that you hold."""

    promises: list[PromiseRecord]


class Revoked(Message, tag="revoked", frozen=True):
    """This task is no longer yours: its promise settled otherwise, or it was halted or its lease
    lapsed. Stop it; its writes are refused."""

    id: str
    version: int
    reason: str


class Unblock(Message, tag="unblock", frozen=True):
    """A listener's promise settled. Sent until it is acknowledged with `Ack`."""

    address: str
    promise: PromiseRecord


class Refused(Message, tag="refused", frozen=True):
    """A frame could not be taken. `status`: 400 malformed, 409 name in use, 412 unknown connection
    (say `Hello`), 413 too large, 426 other protocol version, 429 too much unanswered. `corr`: the
    request refused, where it is one. The connection goes on unless `fatal`."""

    status: int
    error: str
    fatal: bool = False
    corr: int | None = None


ToBroker: TypeAlias = Hello | Request | Credit | Beat | Ack | Bye
ToPeer: TypeAlias = (
    Welcome | Response | Invoke | Resume | Settled | Revoked | Unblock | Refused | Beat | Bye
)

PROTOCOL_VERSION: Final = 1
#: a peer with nothing at stake leaves out all beats but each of this number
IDLE_BEATS: Final = 3
