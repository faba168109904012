"""This process as a peer of its broker: a client at first, a node once it serves."""

from __future__ import annotations

import platform
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from understudy._version import __version__
from understudy.client.calls import dated
from understudy.client.node_environment import NodeEnvironment
from understudy.client.requests import PendingRequests
from understudy_actors.node.shell import NodeService
from understudy_broker.clock import PeerClock
from understudy_broker.link.link import Link
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    AnyCommand,
    Functions,
    Hello,
    PeerKind,
    Settled,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate, TaskCreate
from understudy_store.records import PromiseRecord, TaskRecord, pid_of

#: The lease to ask for before the broker has said which one is usual, milliseconds.
_FIRST_LEASE_MS = 10_000


class Peer:
    """Says hello, follows the session, and passes on messages. Everything is called on the loop.

    Attributes
    ----------
    clock
        The broker's clock, as far as known. Deadlines are the broker's to enforce, so they are
        counted by its clock.
    wants_to_serve
        True if the process is to be a node from its first hello on. Set before the loop starts.
    serving
        True once the process is a node.
    """

    def __init__(
        self, env: NodeEnvironment, requests: PendingRequests, *, name: str, boot: str, os_pid: int
    ) -> None:
        self.clock = PeerClock()
        env.now_ms = self.clock.for_deadlines
        self.wants_to_serve = False
        self.serving = False
        self._env = env
        self._requests = requests
        self._name = name
        self._boot = boot
        self._os_pid = os_pid
        self._link: Link | None = None
        self._node: NodeService | None = None
        self._welcome: Welcome | None = None
        #: the kind of peer that the last hello announced
        self._announced_kind: PeerKind = "client"
        #: names and versions of the functions that the broker has been told of
        self._announced: set[tuple[str, int]] = set()

    def open(self, link: Link, node: NodeService) -> None:
        """Take the link and the node; both exist as soon as the loop runs."""
        self._link = link
        self._node = node
        if self.wants_to_serve:
            self.serve()

    def serve(self) -> None:
        """Become a node, by a new hello if one was said already."""
        if self.serving:
            return
        self.serving = True
        assert self._node is not None
        assert self._link is not None
        self._node.core.serve()
        if self._link.connected:
            self._link.rejoin()

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
        welcome = self._welcome
        ttl_ms = _FIRST_LEASE_MS if welcome is None else welcome.lease_ttl_ms
        pid = pid_of(self._name, self._boot)
        command = TaskCreate(pid, ttl_ms, create.id, create.timeout_at, create.param, create.tags)
        self._requests.perform(command, stored, result, self._perform_task)

    def _perform_task(self, promise: PromiseRecord, task: TaskRecord) -> None:
        assert self._node is not None
        self._node.perform(promise, task.version, task.failures)

    # For the link --------------------------------------------------------------------------------

    def hello(self) -> Hello:
        """Introduce this process, with its tasks and its credit of this moment."""
        node = self._node
        self._announced_kind = "node" if self.serving else "client"
        functions = self._env.functions.announced()
        self._announced = set(functions)
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind=self._announced_kind,
            group=self._env.group,
            name=self._name,
            boot=self._boot,
            os_pid=self._os_pid,
            host=platform.node(),
            sdk=f"python {__version__}",
            credit=node.core.new_session() if node is not None else 0,
            functions=tuple(name for name, _ in functions),
            claims=node.core.claims() if node is not None else (),
            versions=tuple(version for _, version in functions),
            concurrency=node.config.concurrency if node is not None else None,
        )

    def announce(self) -> None:
        """Tell the broker of functions that were registered since the hello."""
        welcome, link = self._welcome, self._link
        if link is None or welcome is None or not (self.serving and link.connected):
            # The hello names them all, or `on_connected` makes up for it.
            return
        new = [each for each in self._env.functions.announced() if each not in self._announced]
        if new and welcome.routes_functions:
            self._announced.update(new)
            names, versions = tuple(name for name, _ in new), tuple(number for _, number in new)
            link.send(Functions(names, versions))

    def is_busy(self) -> bool:
        """Return whether a task or a watch here would be delayed if the broker fell silent."""
        node = self._node
        return bool(self._requests.watches) or (node is not None and bool(node.core.activations))

    def on_connected(self, welcome: Welcome) -> None:
        """Take in the terms of a new session."""
        assert self._node is not None
        reconnected = self._welcome is not None
        self._welcome = welcome
        if welcome.now and self._link is not None:
            self.clock.synchronize(welcome.now, self._link.round_trip_ms)
            if not reconnected:
                self._link.amend(self._dated)
        self._env.values.codec.payload_bytes_max = welcome.payload_bytes_max
        self._node.core.connected(welcome.lost, reconnected)
        if self.serving and self._announced_kind == "client":
            # It became a node while its hello was under way, so the broker needs another one.
            assert self._link is not None
            self._link.rejoin()
        elif self.serving:
            self._node.core.grant()
            self.announce()
        if reconnected:
            self._requests.renew_watches()

    def on_disconnected(self) -> None:
        """Stop relying on the session that has ended."""
        if self._node is not None:
            self._node.core.disconnected()

    def on_messages(self, messages: list[ToPeer]) -> None:
        """Settle futures, and pass the messages on to the node."""
        assert self._node is not None
        requests = self._requests
        if requests.watches:
            for message in messages:
                if isinstance(message, Settled):
                    requests.resolve(message.promises)
        self._node.receive(messages)
