"""What the copies of a runtime have in common: one process's connection and all that it started."""

from __future__ import annotations

import os
import secrets
import threading
from typing import TYPE_CHECKING, Final

from understudy.client.node_environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy_actors.node.config import NodeConfig

if TYPE_CHECKING:
    from understudy.client.connection import Connection
    from understudy.client.embedded import Embedded
    from understudy.processes.spawn import Spawned

DEFAULT_URL: Final = "tcp://127.0.0.1:5577"


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


def checked_url(url: str | None) -> str:
    """The broker's address: `url`, else UNDERSTUDY_URL, else `DEFAULT_URL`."""
    url = url or os.environ.get("UNDERSTUDY_URL") or DEFAULT_URL
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("tcp", "ipc", "inproc") or not rest:
        raise ConfigurationError(
            f"url={url!r} is no address of a broker: it looks like tcp://127.0.0.1:5577 or "
            "ipc:///path/to/socket"
        )
    if scheme == "tcp" and not rest.rpartition(":")[2].isdigit():
        raise ConfigurationError(f"url={url!r} has no port: it looks like {DEFAULT_URL}")
    return url
