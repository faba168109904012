"""The session of a runtime: one process's connection, and everything that it has started.

A runtime and its copies made by `options` share one session. After a fork, the child keeps the
session object but makes a connection of its own; an embedded broker and spawned nodes stay the
parent's.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from understudy.client.keys import process_keys
from understudy.client.node_environment import NodeEnvironment
from understudy.client.seal_keys import process_sealer
from understudy.errors import ConfigurationError
from understudy.handle import in_async_code
from understudy.values import Codec
from understudy.wait_notices import WaitNotices
from understudy_actors.node.config import NodeConfig

if TYPE_CHECKING:
    from concurrent.futures import Future

    from understudy.client.embedded import Embedded
    from understudy.queues.addresses import TaskSourceAddress
    from understudy.task_source.thread import TaskSourceThread
    from understudy_broker.monitoring.address import Place
    from understudy_broker.protocol.messages import AnyCommand, Response
    from understudy_store.commands import PromiseCreate, Reply
    from understudy_store.records import PromiseRecord


#: Held while a connection is made. A fork waits for it: a child that is forked while another thread
#: imports trio and ZeroMQ would wait forever for that import to end, and for any lock that the
#: thread holds. Reentrant, because the thread that forks takes it before and releases it after.
_connecting: Final = threading.RLock()
os.register_at_fork(
    before=_connecting.acquire,
    after_in_parent=_connecting.release,
    after_in_child=_connecting.release,
)


class ConnectionPort(Protocol):
    """A connection as a session uses it: `Connection`, or that of a test without a broker."""

    os_pid: int

    @property
    def is_ready(self) -> bool: ...
    def wait_connected(self, timeout_s: float | None = None) -> None: ...
    def check(self) -> None: ...
    def stop(self, timeout_s: float) -> None: ...
    def command(self, command: AnyCommand) -> Future[Response]: ...
    def watch(self, id: str) -> Future[PromiseRecord]: ...
    def invoke(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]: ...
    def invoke_many(
        self, creates: Sequence[PromiseCreate]
    ) -> list[tuple[Future[None], Future[PromiseRecord]]]: ...
    def perform(self, create: PromiseCreate) -> tuple[Future[None], Future[PromiseRecord]]: ...
    @property
    def has_room(self) -> bool: ...
    @property
    def room(self) -> int: ...
    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]: ...
    def serve(self, *, joins: bool = True) -> None: ...
    def serve_dedicated(
        self, on_ended: Callable[[], None], on_ready: Callable[[], None], *, joins: bool = True
    ) -> None: ...
    @property
    def turns(self) -> Callable[[], bool]: ...


class Stoppable(Protocol):
    """Something that a session has started and ends with."""

    def stop(self) -> None: ...


class ClientSession:
    """The state that a runtime shares with its copies.

    Attributes
    ----------
    env
        The functions, values and group of the process.
    url, name, config, connect_timeout_s
        Arguments of the connection; they may change until there is one.
    keys
        The key and the broker's key, as given to the runtime; they are read when it connects.
    seals
        The seal keys, and whether sealed values are required, as given to the runtime.
    metrics
        Where this process shows its metrics once it is a node; None: nowhere.
    pickle
        Whether values may travel by cloudpickle.
    pickle_asked
        Whether the user has asked for that, where it is the default.
    embedded
        The broker of `Runtime.local`.
    task_source
        The queue that this process takes its tasks from; None: those of its group.
    made_by
        Process id of the process that `name` belongs to.
    owner
        Process id of the process that connected first. The embedded broker and spawned nodes are
        its own.
    serving
        True once the process is a node.
    node_start_hooks
        Functions to call once in each process that becomes a node, before its first call.
    spawned
        Nodes started by `Runtime.spawn`.
    notices
        What tells those who wait for a call why it does not go on.
    """

    def __init__(
        self,
        env: NodeEnvironment,
        *,
        url: str,
        name: str,
        config: NodeConfig,
        connect_timeout_s: float,
        pickle: bool,
        embedded: Embedded | None = None,
        task_source: TaskSourceAddress | None = None,
        keys: tuple[str | None, str | None] = (None, None),
        seals: tuple[str | None, bool | None] = (None, None),
        metrics: Place | None = None,
    ) -> None:
        self.metrics = metrics
        self.keys = keys
        self.seals = seals
        self.env = env
        self.task_source = task_source
        if task_source is not None:
            env.aim_at(task_source.target)
        self._tasks: TaskSourceThread | None = None
        self.url = url
        self.name = name
        self.config = config
        self.connect_timeout_s = connect_timeout_s
        self.pickle = pickle
        self.pickle_asked = pickle
        self.embedded = embedded
        self.made_by = os.getpid()
        self.owner: int | None = None
        self.serving = False
        self.node_start_hooks: list[Callable[[], object]] = []
        #: process id of the process that has called them
        self._prepared: int | None = None
        self.spawned: list[Stoppable] = []
        self.notices = self._new_notices()
        self._connection: ConnectionPort | None = None

    @property
    def started(self) -> bool:
        """True if there is a connection, or was one before this process was forked."""
        return self._connection is not None

    @property
    def is_alone(self) -> bool:
        """True if no other process can join this one's broker as a node, but by being spawned."""
        return self.embedded is not None and not self.spawned

    @property
    def connection(self) -> ConnectionPort:
        """The connection of this process, made at first use; a forked child has its own."""
        connection = self._connection
        if connection is None or connection.os_pid != os.getpid():
            with _connecting:
                connection = self._connection
                if connection is None or connection.os_pid != os.getpid():
                    connection = self._connection = self._connect()
        return connection

    def replace_connection(self, connection: ConnectionPort | None) -> None:
        """Use `connection` from now on; with None, the next call makes one."""
        self._connection = connection

    def _new_notices(self) -> WaitNotices:
        # The log of a node that is alone with its broker has the failures themselves.
        return WaitNotices(lambda command: self.connection.command(command), lambda: self.is_alone)

    def _connect(self) -> ConnectionPort:
        # Imported here because it loads trio and ZeroMQ. A process that only registers functions,
        # or prints help, starts faster without them.
        from understudy.client.connection import Connection

        name = self.name
        if self.made_by != os.getpid():
            # This is a forked child. The parent and its other children need names of their own.
            name = f"{name}-{os.getpid()}"
        if self.owner is None:
            self.owner = os.getpid()
        # What was asked over the connection before is answered to nobody.
        self.notices = self._new_notices()
        sealer = process_sealer(*self.seals)
        if self.embedded is not None and self.owner == os.getpid():
            self.embedded.start(is_sealed=sealer is not None)
            self.url = self.embedded.url
        # A broker of one's own is reached by nobody else, and has no keys.
        is_own = self.embedded is not None
        keys = None if is_own else process_keys(*self.keys)
        if keys is not None and self.pickle and sealer is None:
            raise ConfigurationError(
                "pickle=True among peers with keys needs seal keys too, or each of them could run "
                "code in all others: name a file of them in UNDERSTUDY_SEAL_KEYS (see: understudy "
                "seal new), or pass plain data only"
            )
        if sealer is not None or self.env.values.codec.sealer is not None:
            self.env.values.codec = Codec(self.pickle, sealer=sealer)
        return Connection(
            self.url,
            self.env,
            name=name,
            boot=secrets.token_hex(16),
            config=self.config,
            connect_timeout_s=self.connect_timeout_s,
            keys=keys,
            metrics=self.metrics,
        )

    def serve(self) -> ConnectionPort:
        """Become a node, and take tasks: those of the group, or those of the task source."""
        self.become_node()
        connection = self.connection
        connection.serve(joins=self.task_source is None)
        self.take_tasks(connection)
        return connection

    def serve_dedicated(
        self, on_ended: Callable[[], None], on_ready: Callable[[], None]
    ) -> ConnectionPort:
        """Become a node in a process that does nothing else; see `Connection.serve_dedicated`."""
        connection = self.connection
        connection.serve_dedicated(on_ended, on_ready, joins=self.task_source is None)
        self.take_tasks(connection)
        return connection

    def take_tasks(self, connection: ConnectionPort) -> None:
        """Begin to take tasks from the task source, if there is one, unless it is done already."""
        if self.task_source is None or self._tasks is not None:
            return
        from understudy.task_source.thread import TaskSourceThread

        self._tasks = TaskSourceThread(self.task_source, connection, self.config.concurrency)
        self._tasks.start()

    def forget_task_source(self) -> None:
        """Take the tasks of the group, which calls without a target go to as well."""
        if self.task_source is not None:
            self.task_source = None
            self.env.aim_at(None)

    def become_node(self) -> None:
        """Note that this process is a node; call the hooks unless this process has done so."""
        self.prepare()
        self.serving = True

    def prepare(self) -> None:
        """Call the hooks of a node's start, unless this process has done so."""
        if self._prepared != os.getpid():
            for hook in self.node_start_hooks:
                hook()
            self._prepared = os.getpid()

    def connected(self) -> ConnectionPort:
        """Return the connection once the broker has answered; on an event loop, at once.

        A session with a broker of its own becomes a node with its first call, because nobody else
        could perform that call.
        """
        connection = self._connection
        if connection is None or connection.os_pid != os.getpid():
            connection = self.connection
        if self.embedded is not None and not self.serving:
            self.become_node()
            connection.serve()
        if not connection.is_ready and not in_async_code():
            connection.wait_connected()
        return connection

    def command(self, command: AnyCommand) -> Reply:
        """Send one command and wait for its reply; raises the error if the broker refuses it."""
        return self.connected().command(command).result().reply

    def pages(self, search: Callable[[str | None], AnyCommand]) -> Iterator[Reply]:
        """Search page after page, each when it is asked for.

        Parameters
        ----------
        search
            Returns the command for a page from the cursor of the page before; None: the first page.
        """
        cursor: str | None = None
        while True:
            reply = self.command(search(cursor))
            yield reply
            cursor = reply.cursor
            if cursor is None:
                return

    def configure(
        self,
        *,
        group: str | None,
        id: str | None,
        url: str | None,
        concurrency: int | None,
        metrics: Place | None,
    ) -> None:
        """Change what is not None; see `Runtime.configure`. The values have been checked."""
        if self.started:
            raise ConfigurationError(
                f"the runtime {self.name!r} has connected already: it must not call or serve while "
                'its module is imported. Put those calls under if __name__ == "__main__"'
            )
        if url is not None:
            if self.embedded is not None:
                # It joins other processes now, which may not be trusted with pickles.
                self.embedded = None
                self.pickle = self.pickle_asked
                self.env.values.codec = Codec(pickle=self.pickle)
            self.url = url
        if group is not None:
            self.env.join(group)
        if id is not None or group is not None:
            # The name belongs to this process, even if a parent process made the runtime.
            self.made_by = os.getpid()
        if id is not None:
            self.name = id
        elif group is not None:
            self.name = fresh_id(group)
        if concurrency is not None:
            self.config = msgspec.structs.replace(self.config, concurrency=concurrency)
        if metrics is not None:
            self.metrics = metrics

    def stop(self, timeout_s: float) -> None:
        """Stop spawned nodes, the connection and the embedded broker, in this order.

        In a forked child, only the connection is the child's own and is stopped.

        Parameters
        ----------
        timeout_s
            Seconds to wait for the connection's thread.
        """
        connection = self._connection
        if self.owner != os.getpid():
            if connection is not None and connection.os_pid == os.getpid():
                connection.stop(timeout_s)
            return
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.stop(timeout_s)
        for spawned in self.spawned:
            spawned.stop()
        self.spawned.clear()
        self._connection = None
        if connection is not None:
            connection.stop(timeout_s)
        self.serving = False
        if self.embedded is not None:
            self.embedded.stop()


def fresh_id(group: str) -> str:
    """Make up a node's id that no other node has."""
    return f"{group}-{secrets.token_hex(3)}"
