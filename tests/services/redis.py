"""Redis, from Debian's packages, with a file to which each write is appended and synced."""

from __future__ import annotations

import shutil

import redis

from tests.services.debian import libraries, unpacked
from tests.services.server import Server
from tests.support import eventually


class RedisServer(Server):
    """A Redis server that loses nothing when it is killed."""

    def __init__(self) -> None:
        found = shutil.which("redis-server")
        self._env: dict[str, str] = {}
        if found is None:
            root = unpacked("redis-server", ["redis-server"])
            found = str(root / "usr" / "bin" / "redis-server")
            self._env = {"LD_LIBRARY_PATH": libraries(root)}
        self._program = found
        super().__init__("redis")

    @property
    def url(self) -> str:
        """The server's address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, and return when it has read its file."""
        self.run(
            [
                *(self._program, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.folder), "--save", "", "--appendonly", "yes"),
                *("--appendfsync", "always"),
            ],
            self._env,
        )
        self.wait_until_it_listens()
        eventually(self._answers, 60.0)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
