"""RabbitMQ, from Debian's packages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pika

from tests.services.debian import libraries, unpacked
from tests.services.server import Server
from tests.support import eventually
from understudy.bench.deployment import free_port

_ERLANG: Final = "/usr/lib/erlang"


def _relocate(part: Path, root: Path) -> None:
    """Tell the start script of Erlang, which has the folder of an installation, where it is."""
    for script in part.glob("usr/lib/erlang/**/bin/erl"):
        script.write_text(script.read_text().replace(f"={_ERLANG}", f"={root}{_ERLANG}"))


class RabbitServer(Server):
    """A RabbitMQ node."""

    def __init__(self) -> None:
        self._root = unpacked("rabbitmq-server", ["rabbitmq-server"], _relocate)
        super().__init__("rabbitmq")
        self._epmd_port, self._dist_port = free_port(), free_port()
        (self.folder / "plugins").write_text("[].")
        (self.folder / "rabbitmq.conf").write_text("vm_memory_high_watermark.absolute = 1GB\n")

    @property
    def url(self) -> str:
        """The server's address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        """Start the server, and return when it answers."""
        # Erlang is not unpacked if the machine has it.
        places = (self._root, Path("/"))
        erts = next(bin for each in places for bin in each.glob("usr/lib/erlang/erts-*/bin"))
        [home] = self._root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        folder = self.folder
        env = {
            "PATH": f"{self._root}/usr/bin:{erts}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": libraries(self._root),
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": str(folder / "rabbit.log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
        }
        # It would be started as a daemon otherwise, and outlive the tests.
        self.run([erts / "epmd", "-port", str(self._epmd_port), "-d"], env)
        self.wait_until_it_listens(self._epmd_port)
        self.run([home / "sbin" / "rabbitmq-server"], env)
        self.wait_until_it_listens()
        eventually(self._answers, 60.0)

    def wait_until_kept(self, queue: str) -> None:
        """Return when a queue would survive a kill: its declaration is written with a delay."""
        node = self.folder / "mnesia" / "rabbit@localhost"
        name, table = queue.encode(), b"rabbit_durable_queue"

        def is_in(file: Path) -> bool:
            # Other tables name it too, and may be written before.
            data = file.read_bytes()
            places = [found.start() for found in re.finditer(re.escape(name), data)]
            near = any(table in data[max(0, at - 500) : at + 500] for at in places)
            return near or (bool(places) and file.name.startswith(table.decode()))

        def is_kept() -> bool:
            return any(map(is_in, [*node.glob("*.LOG"), *node.glob("*.DC[LD]")]))

        eventually(is_kept, 60.0)

    def _answers(self) -> bool:
        try:
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
        except pika.exceptions.AMQPError:
            return False
        return True
