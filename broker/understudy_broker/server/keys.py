"""The keys of a running broker: its own pair, and the rights, which it follows as they change.

The file of the rights is looked at once in a while. A new one is checked whole, and then takes the
place of the old one in one step; one that is wrong is refused, and the old one stays. A look that
takes long, because a disk does, delays nothing but itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import trio
import zmq

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import Grant
from understudy_broker.keys.key_files import (
    BROKER_KEY,
    RIGHTS,
    KeyFileError,
    KeyPair,
    check_folder,
    read_pair,
    read_text,
)
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.keys.rights import Holder, Rights, parse_rights
from understudy_broker.server.logs import Log
from understudy_broker.transport.gate import Gate

#: how often the file of the rights is looked at, and so how late an expiry may be noticed
LOOK_S: Final = 0.5
#: what tells one state of a file from another
_State: TypeAlias = tuple[int, int, int, int]


class BrokerKeys:
    """The keys of a broker, as of its folder.

    Parameters
    ----------
    folder
        Has ``broker.key`` and ``rights.toml``.

    Attributes
    ----------
    pair
        The broker's own keys.

    Raises
    ------
    KeyFileError, RightsError
        A file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self.pair: KeyPair = read_pair(folder / BROKER_KEY)
        self._path = folder / RIGHTS
        self._state = _state(self._path)
        self._rights = self._read()

    @property
    def for_brokers(self) -> PeerKeys:
        """The keys by which the brokers of a deployment reach each other: all have the same."""
        return PeerKeys(self.pair, self.pair.public)

    def find(self, key: str) -> Holder | str:
        """Return the holder of a public key, or in words why it is not taken now."""
        return self._rights.find(key, _now())

    def grant_of(self, identity: str) -> Grant | None:
        """Return what an identity may do now; None: there is no such identity."""
        return self._rights.grants.get(identity)

    def reread(self) -> bool:
        """Read the rights again if their file has changed; return whether there are new ones.

        Raises
        ------
        KeyFileError, RightsError
            The file is wrong; the rights are as before. Raised once for each state of the file.
        """
        state = _state(self._path)
        if state == self._state:
            return False
        self._state = state
        self._rights = self._read()
        return True

    async def watch(self, on_change: Callable[[], None], log: Log) -> None:
        """Keep the rights up to date, for ever.

        Parameters
        ----------
        on_change
            Called when there are new rights, and when a key has expired.
        """
        expiry = self._rights.next_expiry(_now())
        while True:
            await trio.sleep(LOOK_S)
            is_new = False
            try:
                is_new = await trio.to_thread.run_sync(self.reread, abandon_on_cancel=True)
            except (KeyFileError, RightsError) as error:
                text = "the new rights are refused, and those before them stay in force"
                log("error", text, {"reason": str(error)})
            if is_new:
                count = len({holder.identity for holder in self._rights}) - 1
                log("info", "the rights were read again", {"identities": count})
            now = _now()
            if is_new or (expiry is not None and now >= expiry):
                expiry = self._rights.next_expiry(now)
                on_change()

    def _read(self) -> Rights:
        check_folder(self._path.parent)
        try:
            return parse_rights(read_text(self._path)).with_brokers(self.pair.public)
        except RightsError as error:
            raise RightsError(f"{self._path}: {error}") from None


def gate_of(context: zmq.Context[zmq.Socket[bytes]], keys: BrokerKeys | None) -> Gate | None:
    """Return a gate for a broker that is to listen with a context; None: without keys."""
    return None if keys is None else Gate(context, keys.pair, keys.find)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _state(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
