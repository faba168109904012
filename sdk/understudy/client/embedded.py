"""A broker with its store inside this process, for `Runtime.local`."""

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
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from understudy.errors import ConfigurationError
from understudy_broker.address import SOCKET_PATH_BYTES_MAX

if TYPE_CHECKING:
    from understudy_broker.server.embedded import EmbeddedBroker
    from understudy_store.store import Store


_PREFIX: Final = "understudy-"
#: Seconds after which a socket that nobody listens at was left behind by a dead process.
ABANDONED_S: Final = 60.0


class Embedded:
    """One embedded broker. It starts when it is first used, and may be started again after a stop.

    It listens at a socket file in a directory that only this user can enter, because values may
    travel by cloudpickle here, and anyone who can send a pickle can run code.

    Parameters
    ----------
    store
        The store's address: ``"memory"`` or a path.
    pickle_asked
        Whether the user has said that values may be unpickled, or may not; None: neither.
    """

    def __init__(self, store: str, pickle_asked: bool | None = None) -> None:
        self.store = store
        self._pickle_asked = pickle_asked
        self._choose_directory()
        self._broker: EmbeddedBroker | None = None
        self._lock = threading.Lock()

    def _choose_directory(self) -> None:
        # Made by `start`, so that a runtime that is never used leaves nothing behind.
        self._directory = _short_folder() / f"{_PREFIX}{secrets.token_hex(8)}"
        self.url = f"ipc://{self._directory}/broker"
        self._process = os.getpid()

    def start(self, *, is_sealed: bool = False) -> None:
        """Open the store and listen.

        In a process that was forked before the first start, at an address of its own.

        Parameters
        ----------
        is_sealed
            Pickles are loaded from sealed values only, so others cannot have put them there.

        Raises
        ------
        StoreError
            The store cannot be opened.
        ListenError
            The socket cannot be made.
        ClockError
            The wall clock is far beyond the store's time.
        """
        from understudy_broker.core.config import BrokerConfig
        from understudy_broker.server.embedded import ACCEPT_CLOCK_ENV, EmbeddedBroker

        # There is no grace for holders of tasks to come back: none of them knows this new address.
        config = BrokerConfig(name="embedded", boot_grace_ms=0)
        with self._lock:
            if self._broker is not None and self._broker.running:
                return
            if self._process != os.getpid():
                self._choose_directory()
            # A broker that has failed has left its directory behind.
            shutil.rmtree(self._directory, ignore_errors=True)
            _remove_abandoned(self._directory.parent)
            self._directory.mkdir(mode=0o700)
            atexit.register(_remove, self._directory, os.getpid())
            must_check = self._pickle_asked is None and not is_sealed
            self._broker = EmbeddedBroker(
                self.store,
                self.url,
                config=config,
                accepted_clock=_date(os.environ.get(ACCEPT_CLOCK_ENV)),
                check_store=self._check_store if must_check else None,
            )
            try:
                self._broker.start()
            except BaseException:
                shutil.rmtree(self._directory, ignore_errors=True)
                raise

    def _check_store(self, store: Store) -> None:
        """Refuse a store that others may have put pickles into, unless the user has decided."""
        from understudy_broker.server.served import is_served

        if is_served(store):
            raise ConfigurationError(
                f"the store {self.store} was served by a broker, so whoever could reach that may "
                "have put pickles into it, which run code when they are read. Say "
                "Runtime.local(..., pickle=False) to read plain data alone, or pickle=True if you "
                "trust all of them"
            )

    def stop(self) -> None:
        """Finish the commit that is under way and close the store."""
        with self._lock:
            broker, self._broker = self._broker, None
        if broker is not None:
            broker.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _date(text: str | None) -> date | None:
    """Return the date that the environment confirms; None if it names none."""
    with suppress(ValueError):
        return date.fromisoformat(text or "")
    return None


def _short_folder() -> Path:
    """Return the folder for temporary files, or a usual one if a socket's path does not fit there.

    The path of a socket is bounded by the system, at about a hundred bytes.
    """
    folder = Path(tempfile.gettempdir())
    name = f"{_PREFIX}{'0' * 16}/broker"
    if len(os.fsencode(folder / name)) <= SOCKET_PATH_BYTES_MAX:
        return folder
    usual = (Path(path) for path in ("/tmp", "/var/tmp", "/dev/shm"))
    return next((path for path in usual if os.access(path, os.W_OK | os.X_OK)), folder)


def _remove_abandoned(parent: Path) -> None:
    """Remove directories that killed processes have left: old ones whose socket is unattended."""
    user = os.getuid()
    before = time.time() - ABANDONED_S
    for socket_file in parent.glob(f"{_PREFIX}{'[0-9a-f]' * 16}/broker"):
        with suppress(OSError):
            made = socket_file.lstat()
            if made.st_uid == user and stat.S_ISSOCK(made.st_mode) and made.st_mtime < before:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.setblocking(False)
                    if probe.connect_ex(str(socket_file)) == errno.ECONNREFUSED:
                        shutil.rmtree(socket_file.parent, ignore_errors=True)


def _remove(directory: Path, pid: int) -> None:
    """Remove the directory at the exit of a process that has not stopped its broker.

    A forked child must not remove the directory of its parent.
    """
    if os.getpid() == pid:
        shutil.rmtree(directory, ignore_errors=True)
