"""Messages between a broker and its peers.

A peer is a *node*, which serves the functions of a group, a *client*, which only calls, an *edge*,
which does both for clients of other protocols, or another *broker* of the deployment. One ZeroMQ
frame carries a list of messages in order; see `frames`. A connection begins with `Hello`,
which is answered by `Welcome` or `Refused`.

`Hello` (of the same boot), `Credit` (a running total), `Beat`, `Ack` and any `Request` may be
repeated without harm, because each command is idempotent on its id or fenced by a version. So a
peer that lost its connection opens a new one and sends everything again that was not answered.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from understudy_store.commands import (
    PromiseAnnounce,
    PromiseCreate,
    PromiseGet,
    PromiseOccur,
    PromiseRegisterListener,
    PromiseSupersede,
    Reply,
    StoreCommand,
)
from understudy_store.records import PromiseRecord

PeerKind: TypeAlias = Literal["node", "client", "broker", "edge"]

#: in a `SlotMap`, in the place of the broker of slots that nobody owns at the moment
NOBODY: Final = -1
#: characters of the build in a `Hello`
BUILD_CHARS_MAX: Final = 100


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base class of all messages."""


# Commands that the broker itself answers ---------------------------------------------------------


class PromiseWatch(Message, tag="promise.watch", frozen=True):
    """Watch promises: tell this connection when they settle.

    The reply has status 200 and in `promises` those that are settled already; the others follow as
    `Settled`. Status 404 names the first id that does not exist. A watch is kept in memory only: a
    peer that reconnects sends its watches again.
    """

    ids: tuple[str, ...]


class PromiseCreateWatched(Message, tag="promise.create_watched", frozen=True):
    """Create a promise and watch it: one request for the needs of every caller.

    The reply is that of `create`, without `promise` if that was made just now and is pending,
    because the caller has all of it. The settlement of a pending promise follows as `Settled`.
    """

    create: PromiseCreate


class PromiseUnwatch(Message, tag="promise.unwatch", frozen=True):
    """End watches; the reply has status 200."""

    ids: tuple[str, ...]


class GroupsGet(Message, tag="groups.get", frozen=True):
    """Ask for the broker's groups: status 200, and a `GroupsReport` in the response's `report`."""


class FunctionsGet(Message, tag="functions.get", frozen=True):
    """Ask for the functions of a group with their schemas, in pages: status 200, and a
    `FunctionsReport` in the response's `functions`.

    It is sent only to a broker whose `Welcome` says that it `tells_functions`. Any broker of the
    deployment knows them, so the one is asked that has the slot of the group's name.

    Attributes
    ----------
    after
        The name and version of the last function of the page before; none for the first page.
    """

    group: str
    after: tuple[str, int] | None = None


class GroupPause(Message, tag="group.pause", frozen=True):
    """Pause a group or one of its functions, or let it go on: status 200, also if it is so already.

    Tasks that are paused wait, and so do those that would be resumed. What runs goes on until it
    waits or ends. The broker keeps pauses in its store. All brokers of a deployment are asked.

    Attributes
    ----------
    function
        The name of the function; empty: the whole group.
    paused
        False: let it go on.
    reason
        For people to see.
    """

    group: str
    function: str = ""
    paused: bool = True
    reason: str = ""


class PauseInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A pause of a group.

    Attributes
    ----------
    function
        The paused function; empty: the whole group.
    since
        Epoch milliseconds.
    by
        The identity that asked for it; empty: the broker asks for no keys.
    """

    function: str
    since: int
    reason: str = ""
    by: str = ""


class FunctionInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A function that a node of a group has, with its JSON schema as JSON (`{}`: anything)."""

    name: str
    version: int
    schema: str


class FunctionsReport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A page of functions, by name and version; `more`: it is not the last one."""

    functions: tuple[FunctionInfo, ...]
    more: bool = False


class NodeInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One connected node, as ``understudy groups`` shows it.

    Attributes
    ----------
    credit
        Unused credit.
    held
        Acquired tasks.
    silent_ms
        Time since anything came from the node.
    concurrency
        How many functions it runs at a time; None: the node is of a release that does not say it.
    blocked, blocked_ms
        What keeps it from its work, with the lines of code, and for how long; empty: nothing does.
    build
        As in `Hello`.
    """

    name: str
    pid: str
    os_pid: int
    host: str
    credit: int
    held: int
    silent_ms: int
    functions: tuple[str, ...] = ()
    concurrency: int | None = None
    blocked: str = ""
    blocked_ms: int = 0
    build: str = ""


class GroupInfo(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A group: its nodes and its queued tasks, the oldest of which has waited for `waiting_ms`.

    `unserved` names functions that none of the nodes has: name, version (None: whichever), and the
    number of tasks that wait for a node that has it. `pauses` says what of it is paused.
    """

    name: str
    nodes: tuple[NodeInfo, ...]
    queued: int
    waiting_ms: int
    unserved: tuple[tuple[str, str | None, int], ...] = ()
    pauses: tuple[PauseInfo, ...] = ()


class GroupsReport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All groups, and the broker's metrics by name.

    `limited` names identities that were refused something within the last minute because of a
    limit: the identity, what it was told last, and for how long that is ago, milliseconds.
    """

    groups: tuple[GroupInfo, ...]
    counters: dict[str, int]
    limited: tuple[tuple[str, str, int], ...] = ()


#: commands that a peer asks for itself
OwnCommand: TypeAlias = (
    StoreCommand
    | PromiseCreateWatched
    | PromiseWatch
    | PromiseUnwatch
    | GroupsGet
    | GroupPause
    | FunctionsGet
)


class Delegated(Message, tag="delegated", frozen=True):
    """A command that an edge asks for in the name of somebody else.

    Only an edge whose role has the right `edge` for that identity may do so. The rights of the
    other one then decide.
    """

    identity: str
    command: OwnCommand


AnyCommand: TypeAlias = OwnCommand | Delegated

#: commands of brokers among themselves: see `core.between_slots`
SlotCommand: TypeAlias = (
    PromiseAnnounce | PromiseOccur | PromiseSupersede | PromiseRegisterListener | PromiseGet
)

# Peer to broker ----------------------------------------------------------------------------------


class Hello(Message, tag="hello", frozen=True):
    """Introduces a peer, at the beginning of each connection.

    Attributes
    ----------
    boot
        Random for each start of the process: with the name it makes the pid that holds leases,
        ``name#boot``.
    claims
        Tasks (id, version) that the peer holds from before a reconnect.
    credit
        As in `Credit`, counted anew from this hello.
    functions, versions
        Names and versions of the functions that a node has. No `versions`: the peer is of a release
        before they were announced, and is taken to have every function.
    concurrency
        How many functions a node runs at a time, for people to see. None: the peer is of a release
        before it was announced.
    schemas
        The JSON schema of each of the `functions`, as JSON. None: the peer announces none.
    build
        The build of the program that runs there, by its own word, for people to see: a commit or
        the tag of an image. Empty: it does not say.
    """

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
    versions: tuple[int, ...] | None = None
    concurrency: int | None = None
    schemas: tuple[str, ...] | None = None
    build: str = ""


class Functions(Message, tag="functions", frozen=True):
    """Announces functions that a node has beyond those of its `Hello`.

    It is sent only to a broker whose `Welcome` says that it `routes_functions`. `schemas` are as in
    `Hello`.
    """

    functions: tuple[str, ...]
    versions: tuple[int, ...]
    schemas: tuple[str, ...] | None = None


class Request(Message, tag="request", frozen=True):
    """Asks the broker to perform a command.

    Attributes
    ----------
    corr
        Correlation number: chosen by the peer, it comes back in the `Response`.
    """

    corr: int
    command: AnyCommand


class Credit(Message, tag="credit", frozen=True):
    """Announces credit: the number of tasks that this node has had room for since its `Hello`.

    It is a running total, so that a repeated or late message does no harm. The broker hands the
    node at most that many tasks in all.
    """

    total: int


class Beat(Message, tag="beat", frozen=True):
    """Heartbeat: renews the lease on everything that this pid holds; answered by `Beat`.

    A peer sends it every `beat_ms` of its `Welcome`, or every `idle_beat_ms` while it holds, asks
    and waits for nothing.
    """


class Pulse(Message, tag="pulse", frozen=True):
    """Says that a connection shows the pulse of a node; it is the only message on it.

    Attributes
    ----------
    pid
        The node's, from its `Welcome`. While the connection lives, the node's process does.
    """

    pid: str


class Ack(Message, tag="ack", frozen=True):
    """Acknowledges the `Unblock` of a promise for an address."""

    id: str
    address: str


class Attach(Message, tag="attach", frozen=True):
    """Makes somebody a *member* of a group; only from an edge, for a client that listens there.

    A member is offered tasks as a node with unlimited credit that has all functions, and acquires
    them itself (see `Execute`). The session of the edge carries it, and its memberships end with
    the session: an edge sends them again after each welcome. Two members of one name count as one,
    the first that has come, until it goes.

    Attributes
    ----------
    identity
        Whose rights decide, where the broker has keys. None: those of the edge.
    """

    group: str
    name: str
    identity: str | None = None


class Detach(Message, tag="detach", frozen=True):
    """Ends what `Attach` has begun."""

    group: str
    name: str


class Carry(Message, tag="carry", frozen=True):
    """Makes an edge a *carrier*: it delivers to addresses of these schemes (see `Forward`).

    A later one replaces it. It ends with the session: an edge sends it again after each welcome.

    Attributes
    ----------
    credit
        Deliveries that it takes at a time; 0: none any more.
    places
        The only places that it delivers to, such as ``amqp://mq.internal``. Empty: all of these
        schemes.
    """

    schemes: tuple[str, ...]
    credit: int
    places: tuple[str, ...] = ()


class Forwarded(Message, tag="forwarded", frozen=True):
    """Says how a `Forward` of this session has ended; it is answered once.

    Attributes
    ----------
    error
        The reason why it was not delivered. None: the receiver has taken it.
    again_ms
        Of an offer: when it is made again if nobody has acquired the task. After a success, it is
        made no sooner than the task has waited already. None: at the usual time.
    retry_after_ms
        How long the receiver wants to be left alone, if it was not delivered and it has said so.
    refused
        This carrier may not deliver to the address. Another one that carries its scheme is asked.
    """

    address: str
    id: str
    version: int
    error: str | None = None
    again_ms: int | None = None
    retry_after_ms: int | None = None
    refused: bool = False


class ProgressEntry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The progress of a function that a node runs.

    Attributes
    ----------
    id, version
        The task, as the node holds it.
    run
        The promise of the function: the task's own, or that of a step inside it.
    fraction
        The part of the work that is done, from 0 to 1; None: the function does not say.
    text
        A line for people. Without a fraction and a text, the run has no progress any more.
    """

    id: str
    version: int
    run: str
    fraction: float | None = None
    text: str = ""


class Progress(Message, tag="progress", frozen=True):
    """Tells how far functions are. It is kept in memory only, and is not answered.

    It is sent only to a broker whose `Welcome` says that it `takes_progress`, and counts for tasks
    that this session holds. What is told of one run replaces what was told before.

    Attributes
    ----------
    blocked
        What keeps the node itself from its work, with the lines of code; empty: nothing does any
        more. None: as was told last.
    """

    entries: tuple[ProgressEntry, ...]
    blocked: str | None = None


class Bye(Message, tag="bye", frozen=True):
    """Goodbye: the peer leaves, and what it still holds goes to others at once.

    A broker answers it with its own, and sends one to every peer when it stops.
    """


# Broker to peer ----------------------------------------------------------------------------------


class SlotMap(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Says which broker owns which slots (semantics: Homes and slots).

    Attributes
    ----------
    version
        It only grows: of two maps of one deployment, the greater is the newer.
    brokers
        Name and address of each broker.
    runs
        Slots in order, as runs of equal owners: the last slot of the run, and the owner's place in
        `brokers`, or `NOBODY`. Slots beyond the last run belong to nobody.
    since
        Slots in order, as runs: the last slot of the run, and the version in which they came to
        their owner. Slots beyond the last run have `version`. Brokers without a database in common
        learn of each other's moves late, so each slot is judged by itself (`placement.merged`).
    """

    version: int
    brokers: tuple[tuple[str, str], ...]
    runs: tuple[tuple[int, int], ...]
    since: tuple[tuple[int, int], ...] = ()


class Welcome(Message, tag="welcome", frozen=True):
    """Takes a peer in, and tells it the terms.

    Attributes
    ----------
    beat_ms
        How often to send `Beat`.
    inflight_max
        Requests that may be unanswered at a time.
    lost
        Ids of claims that are no longer this node's.
    now
        Time of the broker's clock, epoch milliseconds: deadlines are counted by it.
    routes_functions
        The broker hands a task only to nodes that have announced its function.
    deployment
        Names what the broker is one of: all brokers of a deployment have the same.
    slots
        Which broker owns which slots. None: this one owns all, and there is no other.
    tells_functions
        The broker answers `FunctionsGet`.
    takes_progress
        The broker takes `Progress`.
    """

    protocol: int
    broker: str
    pid: str
    lease_ttl_ms: int
    beat_ms: int
    inflight_max: int
    frame_bytes_max: int
    payload_bytes_max: int
    lost: tuple[str, ...] = ()
    now: int = 0
    routes_functions: bool = False
    deployment: str = ""
    slots: SlotMap | None = None
    tells_functions: bool = False
    takes_progress: bool = False

    @property
    def idle_beat_ms(self) -> int:
        """Interval of heartbeats with nothing at stake.

        It is short enough that a task that is handed over between two heartbeats keeps its lease.
        """
        return max(self.beat_ms, min(IDLE_BEATS * self.beat_ms, self.lease_ttl_ms * 3 // 4))


class Slots(Message, tag="slots", frozen=True):
    """Tells of a newer map of slots. It comes before any reply with 421 that follows from it."""

    slots: SlotMap


class Response(Message, tag="response", frozen=True):
    """The reply to the request of the same `corr`.

    Status 421: the slot is another broker's, so nothing was performed; see `SlotMap`.
    """

    corr: int
    reply: Reply
    report: GroupsReport | None = None
    functions: FunctionsReport | None = None


class Invoke(Message, tag="invoke", frozen=True):
    """Hands a task to a node for the first time; it is acquired already."""

    promise: PromiseRecord
    version: int


class Resume(Message, tag="resume", frozen=True):
    """Hands a task to a node again; it is acquired already.

    Attributes
    ----------
    preload
        All children of the promise. None: this node was the last to hold the task and was told of
        everything since; if it is no longer warm, it asks with `TaskPreload`.
    failures
        How often the function has raised an error and was to be retried.
    """

    promise: PromiseRecord
    version: int
    preload: list[PromiseRecord] | None
    failures: int = 0


class Execute(Message, tag="execute", frozen=True):
    """Offers a task to a member. It is not acquired: the member does that, by id and version.

    If nobody has acquired it some time later, the task is offered again, perhaps to others.
    """

    group: str
    name: str
    id: str
    version: int


class Settled(Message, tag="settled", frozen=True):
    """Tells of settled promises that this peer watches, or whose parent task it holds."""

    promises: list[PromiseRecord]


class Revoked(Message, tag="revoked", frozen=True):
    """Tells a holder that a task is no longer its own; its writes are refused from now on.

    The promise was settled by another peer, the task was halted, or its lease lapsed.
    """

    id: str
    version: int
    reason: str


class Forward(Message, tag="forward", frozen=True):
    """Has a carrier deliver to an address, and answer with `Forwarded`.

    At most one is under way for an address and an id.

    Attributes
    ----------
    version
        Of the task that is offered.
    promise
        The settled promise, of which a listener is told; the version is 0 then. None: the task of
        this id is offered.
    """

    address: str
    id: str
    version: int
    promise: PromiseRecord | None = None


class Unblock(Message, tag="unblock", frozen=True):
    """Tells a listener that its promise settled; repeated until it is acknowledged with `Ack`."""

    address: str
    promise: PromiseRecord


class Refused(Message, tag="refused", frozen=True):
    """Refuses a frame or a request. The connection goes on unless `fatal`.

    Attributes
    ----------
    status
        400 malformed, 409 name in use, 412 unknown connection (say `Hello`), 413 too large, 425 the
        broker is new and waits for the others of its deployment (`server.founding`), 426 another
        protocol version, 429 too many unanswered.
    corr
        Of the request that is refused; None: the frame is.
    retry_after_ms
        When the request is to be sent again. None: with the next sign of the broker.
    """

    status: int
    error: str
    fatal: bool = False
    corr: int | None = None
    retry_after_ms: int | None = None


ToBroker: TypeAlias = (
    Hello
    | Functions
    | Request
    | Credit
    | Beat
    | Ack
    | Bye
    | Pulse
    | Attach
    | Detach
    | Carry
    | Forwarded
    | Progress
)
ToPeer: TypeAlias = (
    Welcome
    | Slots
    | Response
    | Invoke
    | Resume
    | Execute
    | Settled
    | Revoked
    | Unblock
    | Forward
    | Refused
    | Beat
    | Bye
)

PROTOCOL_VERSION: Final = 2
#: A peer with nothing at stake sends every third heartbeat only.
IDLE_BEATS: Final = 3
