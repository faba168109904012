"""This process as a peer of its brokers: a client at first, a node once it serves."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import msgspec

from understudy._version import __version__
from understudy.client.availability import Availability
from understudy.client.build import own_build
from understudy.client.calls import dated
from understudy.client.log import ConnectionLog
from understudy.client.node_environment import NodeEnvironment
from understudy.client.requests import PendingRequests
from understudy.client.sealed_records import SealedRecords
from understudy.client.tenures import Tenures
from understudy.registry import Function
from understudy_actors.node.shell import NodeService
from understudy_broker.clock import PeerClock
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Functions,
    Hello,
    PeerKind,
    Progress,
    ProgressEntry,
    Refused,
    Settled,
    SlotMap,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate, TaskAcquire, TaskCreate
from understudy_store.records import PromiseRecord, TaskRecord, pid_of

#: bytes of all JSON schemas that a node announces; what is beyond is announced as anything
SCHEMAS_BYTES_MAX: Final = 768 * 1024

#: The lease to ask for before the broker has said which one is usual, milliseconds.
_FIRST_LEASE_MS = 10_000


class _Session:
    """The terms that this process and one broker have told each other."""

    def __init__(self) -> None:
        #: the broker's last welcome; None: it has not answered yet
        self.welcome: Welcome | None = None
        #: the kind of peer that the last hello announced
        self.kind: PeerKind = "client"
        #: the tasks that it claimed, each with its version
        self.claims: dict[str, int] = {}
        #: names and versions of the functions that the broker knows
        self.announced: set[tuple[str, int]] = set()


class Peer:
    """Says hello, follows the sessions, and passes on messages. Everything is called on the loop.

    Parameters
    ----------
    leaves
        Returns whether the process leaves in order, if its links end now.
    sealed
        Opens what comes from the brokers; None: this process has no seal keys.

    Attributes
    ----------
    clock
        The brokers' clock, as far as known. Deadlines are theirs to enforce, so they are counted by
        it.
    wants_to_serve
        True if the process is to be a node from its first hello on. Set before the loop starts.
    serving
        True once the process is a node.
    on_ready
        Called with each welcome of a broker, before any of its tasks comes.
    tenures
        Acquired tasks whose end somebody waits for.
    """

    def __init__(
        self,
        env: NodeEnvironment,
        requests: PendingRequests,
        availability: Availability,
        log: ConnectionLog,
        leaves: Callable[[], bool],
        *,
        name: str,
        boot: str,
        os_pid: int,
        sealed: SealedRecords | None = None,
    ) -> None:
        self._sealed = sealed
        self.clock = PeerClock()
        env.now_ms = self.clock.for_deadlines
        self.wants_to_serve = False
        self.serving = False
        self.on_ready: Callable[[], None] | None = None
        self.leaves = leaves
        self.tenures = Tenures()
        self._env = env
        self._requests = requests
        self._availability = availability
        self._log = log
        self._name = name
        self._boot = boot
        self._os_pid = os_pid
        self._build = own_build()
        self._router: Router | None = None
        self._node: NodeService | None = None
        self._sessions: dict[Link, _Session] = {}
        #: a broker has welcomed this process: its tasks and watches may be at any from then on
        self._has_met = False
        #: the link to the broker whose clock is followed
        self._clock_link: Link | None = None
        self._lease_ms = _FIRST_LEASE_MS

    def open(self, router: Router, node: NodeService) -> None:
        """Take the router and the node; both exist as soon as the loop runs."""
        self._router = router
        self._node = node
        node.core.state.on_let_go = self.tenures.end
        node.on_progress = self._tell_progress
        node.on_blocked = self._tell_blocked
        self._env.on_progress = node.core.progress.note
        if self.wants_to_serve:
            self.serve()

    @property
    def connected(self) -> bool:
        """True while a broker answers; any thread may ask."""
        return self._router is not None and self._router.connected

    def serve(self) -> None:
        """Become a node, by a new hello if one was said already."""
        if self.serving:
            return
        self.serving = True
        assert self._node is not None
        assert self._router is not None
        self._node.core.serve()
        self._router.rejoin()

    def dated(self, request: Callable[..., None]) -> Callable[..., None]:
        """Return `request` for a command that was made before the broker's time was known.

        The welcome may have come since. If not, the command waits for it, and is amended then.
        """

        def send(command: AnyCommand, *rest: Any) -> None:
            request(self._dated(command), *rest)

        return send

    def _dated(self, command: AnyCommand) -> AnyCommand:
        unheard_ms = self.clock.unheard_ms
        return command if unheard_ms is None else dated(command, unheard_ms)

    def perform(
        self, create: PromiseCreate, stored: Future[None], result: Future[PromiseRecord]
    ) -> None:
        """Create a promise, acquire its task and perform it here; see `Connection.perform`."""
        self.serve()
        pid = pid_of(self._name, self._boot)
        command = TaskCreate(
            pid, self._lease_ms, create.id, create.timeout_at, create.param, create.tags
        )
        self._requests.perform(command, stored, result, self._perform_task)

    def acquire(self, id: str, version: int, acquired: Future[bool], ended: Future[None]) -> None:
        """Acquire a task that waits, and perform it here; see `Connection.acquire`."""

        def perform(promise: PromiseRecord, task: TaskRecord) -> None:
            self.tenures.begin(id, task.version, ended)
            self._perform_task(promise, task)

        pid = pid_of(self._name, self._boot)
        command = TaskAcquire(id, version, pid, self._lease_ms)
        self._requests.acquire(command, acquired, perform)

    def _perform_task(self, promise: PromiseRecord, task: TaskRecord) -> None:
        assert self._node is not None
        self._node.perform(promise, task.version, task.failures)

    # For the router ------------------------------------------------------------------------------

    def on_link(self, link: Link) -> None:
        """Take a new link, and watch whether its broker answers."""
        self._availability.add(link, partial(self._is_at, link))

    def on_gone(self, link: Link) -> None:
        """Forget a link and what was said over it."""
        self._sessions.pop(link, None)
        if self._node is not None:
            self._node.core.credit.end_session(link)

    def _is_at(self, link: Link, id: str) -> bool:
        """Return whether the promise of an id is at the broker of a link."""
        assert self._router is not None
        return self._router.owns(link, id)

    def hello(self, link: Link) -> Hello:
        """Introduce this process, with its tasks and its credit of this moment."""
        node = self._node
        session = self._sessions.setdefault(link, _Session())
        session.kind = "node" if self.serving else "client"
        functions = self._env.functions.announced()
        session.announced = set(functions)
        claims = node.core.claims(partial(self._is_at, link)) if node is not None else ()
        session.claims = dict(claims)
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind=session.kind,
            group=self._env.group,
            name=self._name,
            boot=self._boot,
            os_pid=self._os_pid,
            host=platform.node(),
            sdk=f"python {__version__}",
            credit=node.core.new_session(link) if node is not None else 0,
            functions=tuple(name for name, _ in functions),
            claims=claims,
            versions=tuple(version for _, version in functions),
            concurrency=node.config.concurrency if node is not None else None,
            schemas=_schemas(functions.values()) if self.serving else None,
            build=self._build,
        )

    def announce(self) -> None:
        """Tell the brokers of functions that were registered since the hello."""
        for link in self._sessions:
            self._announce(link)

    def _announce(self, link: Link) -> None:
        session = self._sessions[link]
        welcome = session.welcome
        if welcome is None or not (self.serving and link.connected):
            # The hello names them all, or `on_connected` makes up for it.
            return
        announced = self._env.functions.announced()
        new = [each for each in announced if each not in session.announced]
        if new and welcome.routes_functions:
            session.announced.update(new)
            names, versions = tuple(name for name, _ in new), tuple(number for _, number in new)
            link.send(Functions(names, versions, _schemas(announced[each] for each in new)))

    def _tell_progress(self, entries: list[ProgressEntry]) -> None:
        """Tell each broker how far the functions of its tasks are."""
        if self._sealed is not None:
            # A text may be made of values, which no broker is to see.
            entries = [msgspec.structs.replace(each, text="") for each in entries]
        for link, session in self._sessions.items():
            welcome = session.welcome
            if welcome is None or not (welcome.takes_progress and link.connected):
                continue
            own = tuple(each for each in entries if self._is_at(link, each.id))
            if own:
                link.send(Progress(own))

    def _tell_blocked(self, text: str) -> None:
        """Tell each broker what keeps this node from its work."""
        for link, session in self._sessions.items():
            welcome = session.welcome
            if welcome is not None and welcome.takes_progress and link.connected:
                link.send(Progress((), text))

    def is_busy(self) -> bool:
        """Return whether a task or a watch here would be delayed if a broker fell silent."""
        node = self._node
        return bool(self._requests.watches) or (node is not None and bool(node.core.activations))

    def on_map(self, link: Link, slots: SlotMap) -> None:
        """Do nothing: the router follows the map."""

    def minds_moves(self) -> bool:
        """Return whether tasks or watches of this peer may be in slots that move."""
        return self.serving or self.is_busy()

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        """Take in the terms of a new session."""
        if self.on_ready is not None:
            self.on_ready()
        assert self._node is not None
        session, is_there = self._sessions[link], partial(self._is_at, link)
        # A broker that is new to this process may have slots by now that another one had.
        reconnected, self._has_met = self._has_met, True
        session.welcome = welcome
        self._lease_ms = welcome.lease_ttl_ms
        self._follow_clock(link, welcome)
        self._env.values.codec.bound_payload(welcome.payload_bytes_max)
        lost = [(id, session.claims[id]) for id in welcome.lost if id in session.claims]
        self._node.core.connected(lost, reconnected, is_there)
        if self.serving and session.kind == "client":
            # It became a node while its hello was under way, so the broker needs another one.
            link.rejoin()
        elif self.serving:
            self._node.core.grant()
            self._announce(link)
        if reconnected:
            self._requests.renew_watches(is_there)
        self._availability.on_connected()

    def _follow_clock(self, link: Link, welcome: Welcome) -> None:
        """Follow the clock of the first broker that answered, and of another one if it is away."""
        followed = self._clock_link
        # The followed one may have started again, with another time.
        if not welcome.now:
            return
        if followed is not None and followed is not link and followed.connected:
            return
        is_first, self._clock_link = followed is None, link
        self.clock.synchronize(welcome.now, link.round_trip_ms)
        if is_first:
            assert self._router is not None
            self._router.amend(self._dated)

    def on_disconnected(self, link: Link, why: str) -> None:
        """Stop relying on the session that has ended."""
        self._log.disconnected(why)
        self._availability.on_disconnected(link)
        if self._node is not None:
            self._node.core.disconnected(partial(self._is_at, link))

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Settle futures, and pass the messages on to the node."""
        assert self._node is not None
        for message in messages:
            if isinstance(message, Refused) and message.retry_after_ms is not None:
                self._log.waits(message.error)
        if self._sealed is not None:
            messages = self._sealed.open_messages(messages)
        requests = self._requests
        if requests.watches:
            for message in messages:
                if isinstance(message, Settled):
                    requests.resolve(message.promises)
        self._node.receive(messages, link)


def _schemas(functions: Iterable[Function]) -> tuple[str, ...]:
    """Return the JSON schemas of functions, as far as there is room in a hello."""
    found = []
    room = SCHEMAS_BYTES_MAX
    for function in functions:
        schema = function.schema if room > 0 else "{}"
        room -= len(schema)
        found.append(schema)
    return tuple(found)
