"""The keys of a running broker: its own pair, and the rights, which it follows as they change.

The file of the rights is looked at once in a while. A new one is checked whole, and then takes the
place of the old one in one step; one that is wrong is refused, and the old one stays. A look that
takes long, because a disk does, delays nothing but itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import trio
import zmq

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.grants import Grant
from understudy_broker.keys.key_files import (
    BROKER_KEY,
    BROKER_NEXT,
    RIGHTS,
    KeyFileError,
    KeyPair,
    check_folder,
    digest_of,
    read_next_pair,
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
    digest
        The SHA-256 of the text of the rights that are in force.
    refused
        Why the text that the file has now is not in force, in words; None: it is.

    Raises
    ------
    KeyFileError, RightsError
        A file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        self.pair: KeyPair = read_pair(folder / BROKER_KEY)
        #: the other one of the two, while the key is being replaced
        self._other: KeyPair | None = None
        #: from when on a broker that starts has another key than this one
        self.outdated_at: int | None = None
        after = read_next_pair(folder / BROKER_NEXT)
        if after is not None and after.pair.public != self.pair.public:
            if _now() >= after.since:
                self.pair, self._other = after.pair, self.pair
            else:
                self._other, self.outdated_at = after.pair, after.since
        self.folder = folder
        self._path = folder / RIGHTS
        self._state = _state(self._path)
        self._rights, self.digest = self._read()
        self.refused: str | None = None

    @property
    def for_brokers(self) -> PeerKeys:
        """The keys by which the brokers of a deployment reach each other: all have the same."""
        others = () if self._other is None else (self._other.public,)
        return PeerKeys(self.pair, self.pair.public, others)

    def find(self, key: str) -> Holder | str:
        """Return the holder of a public key, or in words why it is not taken now."""
        return self._rights.find(key, _now())

    def grant_of(self, identity: str) -> Grant | None:
        """Return what an identity may do now; None: there is no such identity."""
        return self._rights.grants.get(identity)

    @property
    def identities(self) -> int:
        """The number of identities whose keys are taken, brokers not counted."""
        return len({holder.identity for holder in self._rights}) - 1

    def next_expiry(self) -> int | None:
        """Return when the next key expires, epoch milliseconds; None: none does."""
        return self._rights.next_expiry(_now())

    def reread(self, *, whatever: bool = False) -> bool:
        """Read the rights again if their file has changed; return whether there are new ones.

        Parameters
        ----------
        whatever
            Read them although the file seems to be the same: two changes may follow each other so
            soon that the system shows no difference.

        Raises
        ------
        KeyFileError, RightsError
            The file is wrong; the rights are as before. Raised once for each state of the file.
        """
        state = _state(self._path)
        if state == self._state and not whatever:
            return False
        self._state = state
        before = self.digest, self.refused
        try:
            self._rights, self.digest = self._read()
        except (KeyFileError, RightsError) as error:
            self.refused = str(error)
            raise
        self.refused = None
        return before != (self.digest, None)

    def _read(self) -> tuple[Rights, str]:
        check_folder(self._path.parent)
        text = read_text(self._path)
        try:
            rights = parse_rights(text).with_brokers(self.pair.public)
            if self._other is not None:
                rights = rights.with_brokers(self._other.public)
            return rights, digest_of(text)
        except RightsError as error:
            raise RightsError(f"{self._path}: {error}") from None


class RightsWatch:
    """Keeps the rights of a running broker up to date.

    Parameters
    ----------
    on_change
        Called when there are new rights, and when a key has expired.
    audit
        Notes something for the audit: what, and its details.
    """

    def __init__(
        self,
        keys: BrokerKeys,
        on_change: Callable[[], None],
        log: Log,
        audit: Callable[[str, dict[str, object]], None] = lambda _what, _details: None,
    ) -> None:
        self._keys = keys
        self._on_change = on_change
        self._log = log
        self._audit = audit
        self._expiry = keys.next_expiry()
        self._looking = trio.Lock()
        self._has_told = False

    async def run(self) -> None:
        """Look at the file once in a while, for ever."""
        while True:
            await trio.sleep(LOOK_S)
            await self.look()

    async def look(self, *, whatever: bool = False) -> None:
        """Look at the file now; with `whatever`, read it also if it seems to be the same."""
        async with self._looking:
            is_new = False
            read = partial(self._keys.reread, whatever=whatever)
            try:
                is_new = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
            except (KeyFileError, RightsError) as error:
                text = "the new rights are refused, and those before them stay in force"
                self._log("error", text, {"reason": str(error)})
                self._audit("rights refused", {"why": str(error)})
            if is_new:
                count = self._keys.identities
                self._log("info", "the rights were read again", {"identities": count})
                self._audit("rights read", {"identities": count, "sha256": self._keys.digest})
            if is_new or (self._expiry is not None and _now() >= self._expiry):
                self._expiry = self._keys.next_expiry()
                self._on_change()
            outdated_at = self._keys.outdated_at
            if outdated_at is not None and _now() >= outdated_at and not self._has_told:
                self._has_told = True
                text = "the broker's next key is due, and this broker has it when it starts again"
                self._log("warning", text, {})


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
