"""NATS with JetStream, from Debian's packages."""

from __future__ import annotations

import shutil

from tests.services.debian import unpacked
from tests.services.server import Server


class NatsServer(Server):
    """A NATS server that keeps its streams in files."""

    def __init__(self) -> None:
        found = shutil.which("nats-server")
        if found is None:
            root = unpacked("nats-server", ["nats-server"])
            [found] = map(str, root.glob("usr/*bin/nats-server"))
        self._program = found
        super().__init__("nats")

    @property
    def url(self) -> str:
        """The server's address."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and return when it listens: its streams are there by then."""
        self.run(
            [
                *(self._program, "-a", "127.0.0.1", "-p", str(self.port)),
                *("-js", "-sd", str(self.folder / "streams")),
            ]
        )
        self.wait_until_it_listens()
