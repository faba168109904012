"""What the copies of a runtime have in common: one process's connection and all that it started."""

from __future__ import annotations

import os
import secrets
import threading
from typing import TYPE_CHECKING

import msgspec

from understudy.client.node_environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.handle import in_async_code
from understudy.values import Codec
from understudy_actors.node.config import NodeConfig

if TYPE_CHECKING:
    from understudy.client.connection import Connection
    from understudy.client.embedded import Embedded
    from understudy.processes.spawn import Spawned
    from understudy_broker.protocol.messages import AnyCommand
    from understudy_store.commands import Reply


class ClientSession:
    """What a runtime and its copies made by `options` have in common."""

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
    ) -> None:
        self.env = env
        self.url = url
        self.name = name
        self.config = config
        self.connect_timeout_s = connect_timeout_s
        self.pickle = pickle
        #: whether the user said so, where it is the default
        self.pickle_asked = pickle
        self.embedded = embedded
        self.made_by = os.getpid()
        #: the process that connected first: the embedded broker and spawned nodes are its own
        self.owner: int | None = None
        self.serving = False
        self.spawned: list[Spawned] = []
        self.lock = threading.Lock()
        self._connection: Connection | None = None

    @property
    def started(self) -> bool:
        """Whether there is a connection, or was one in the process that this was forked from."""
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        """The connection of this process; a forked child makes its own."""
        connection = self._connection
        if connection is None or connection.os_pid != os.getpid():
            with self.lock:
                connection = self._connection
                if connection is None or connection.os_pid != os.getpid():
                    connection = self._connection = self._connect()
        return connection

    def _connect(self) -> Connection:
        # loads trio and ZeroMQ, which who only registers functions or asks for help need not
        from understudy.client.connection import Connection

        context = None
        name = self.name
        if self.made_by != os.getpid():
            # forked: the parent, and its other children, go by names of their own
            name = f"{name}-{os.getpid()}"
        if self.owner is None:
            self.owner = os.getpid()
        if self.embedded is not None and self.owner == os.getpid():
            self.embedded.start()
            context = self.embedded.context
        return Connection(
            self.url,
            self.env,
            name=name,
            boot=secrets.token_hex(4),
            config=self.config,
            connect_timeout_s=self.connect_timeout_s,
            context=context,
        )

    def connected(self) -> Connection:
        """Return the connection once the broker has answered; on an event loop, at once.

        A session with a broker of its own becomes a node with its first call, because nobody else
        could perform that call.
        """
        connection = self.connection
        if self.embedded is not None and not self.serving:
            self.serving = True
            connection.serve()
        if not in_async_code():
            connection.wait_connected()
        return connection

    def command(self, command: AnyCommand) -> Reply:
        """Send one command and wait for its reply; raises the error if the broker refuses it."""
        return self.connected().command(command).result().reply

    def configure(
        self, *, group: str | None, id: str | None, url: str | None, concurrency: int | None
    ) -> None:
        """Change what is not None; see `Runtime.configure`. The values have been checked."""
        if self.started:
            raise ConfigurationError(
                f"the runtime {self.name!r} has connected already: it must not call or serve while "
                'its module is imported. Put that under if __name__ == "__main__"'
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

    def stop(self, timeout_s: float) -> None:
        connection = self._connection
        if self.owner != os.getpid():
            # forked: only the connection is this process's own, all else is the parent's
            if connection is not None and connection.os_pid == os.getpid():
                connection.stop(timeout_s)
            return
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
