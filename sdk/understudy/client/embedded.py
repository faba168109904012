"""Broker and store inside this process, for `Runtime.local`."""

from __future__ import annotations

import atexit
import errno
import os
import secrets
import shutil
import socket
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zmq

if TYPE_CHECKING:
    from understudy_broker.server.embedded import EmbeddedBroker


_PREFIX: Final = "understudy-"
#: seconds after which a socket has had the time to be listened at
LEFT_S: Final = 60.0


class Embedded:
    """One embedded broker; starts with the first use, and may be started again after a stop.

    It listens on a socket file in a directory that only this user can enter: values travel by
    cloudpickle here, so nobody else may send any.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        # made by `start`, so that a runtime that is only defined leaves nothing behind
        self._directory = Path(tempfile.gettempdir(), f"{_PREFIX}{secrets.token_hex(8)}")
        self.url = f"ipc://{self._directory}/broker"
        self.context: zmq.Context[Any] | None = None
        self._broker: EmbeddedBroker | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Open the store and listen; what is wrong with either is raised here."""
        from understudy_broker.core.config import BrokerConfig
        from understudy_broker.server.embedded import EmbeddedBroker

        # nobody who held a task of this store before can come back: the address is a new one
        config = BrokerConfig(name="embedded", boot_grace_ms=0)
        with self._lock:
            if self._broker is not None and self._broker.running:
                return
            # what a broker that ended by itself has left
            shutil.rmtree(self._directory, ignore_errors=True)
            _sweep(self._directory.parent)
            self._directory.mkdir(mode=0o700)
            atexit.register(_remove, self._directory, os.getpid())
            self._broker = EmbeddedBroker(self.store, self.url, config=config)
            try:
                self._broker.start()
            except BaseException:
                shutil.rmtree(self._directory, ignore_errors=True)
                raise

    def stop(self) -> None:
        """Finish the commit under way and close the store."""
        with self._lock:
            broker, self._broker = self._broker, None
        if broker is not None:
            broker.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what processes that were killed have left: old directories of ours, with a socket at
    which nobody listens."""
    user = os.getuid()
    before = time.time() - LEFT_S
    for socket_file in parent.glob(f"{_PREFIX}{'[0-9a-f]' * 16}/broker"):
        with suppress(OSError):
            made = socket_file.lstat()
            if made.st_uid == user and stat.S_ISSOCK(made.st_mode) and made.st_mtime < before:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.setblocking(False)
                    if probe.connect_ex(str(socket_file)) == errno.ECONNREFUSED:
                        shutil.rmtree(socket_file.parent, ignore_errors=True)


def _remove(directory: Path, pid: int) -> None:
    """At the end of a process that did not stop; a forked one leaves its parent's alone."""
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)
