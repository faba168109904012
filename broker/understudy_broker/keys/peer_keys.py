"""The keys by which a peer reaches a broker that asks for keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from understudy_broker.keys.key_files import KeyFileError, KeyPair, find, read_pair, read_public

#: the path of this process's secret key, and the broker's public key or its path
KEY_ENV: Final = "UNDERSTUDY_KEY"
BROKER_KEY_ENV: Final = "UNDERSTUDY_BROKER_KEY"


class PeerKeys(NamedTuple):
    """The keys of one peer: its own pair, and the public key of its brokers.

    Attributes
    ----------
    others
        Further public keys of the brokers, while their key is being replaced.
    key_path, broker_path
        The files that they were read from, to be read again; None: there is none.
    """

    pair: KeyPair
    broker: str
    others: tuple[str, ...] = ()
    key_path: Path | None = None
    broker_path: Path | None = None

    def after_refusal(self, *, knows_broker: bool) -> PeerKeys:
        """Return what to try next: the keys that the files have now, and if so the broker's next.

        Parameters
        ----------
        knows_broker
            The broker has the key that was tried, and refused the peer's own.
        """
        pair, known = self.pair, (self.broker, *self.others)
        # What cannot be read now is as before: it may be in the middle of being replaced.
        with suppress(KeyFileError):
            if self.key_path is not None:
                pair = read_pair(self.key_path)
        with suppress(KeyFileError):
            if self.broker_path is not None:
                found = read_public(str(self.broker_path))
                known = known if set(found) == set(known) else found
        if not knows_broker and known[0] == self.broker:
            known = (*known[1:], known[0])
        return self._replace(pair=pair, broker=known[0], others=known[1:])


def read_peer_keys(
    key: str | None = None,
    broker_key: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> PeerKeys | None:
    """Read the keys of this process; return None if none are given.

    Parameters
    ----------
    key
        The path of the secret key, or the name of a systemd credential; None: as UNDERSTUDY_KEY
        says.
    broker_key
        The brokers' public key, or its path; None: as UNDERSTUDY_BROKER_KEY says.

    Raises
    ------
    KeyFileError
        Only one of them is given, or a file cannot be used.
    """
    key = environ.get(KEY_ENV, "") if key is None else key
    broker_key = environ.get(BROKER_KEY_ENV, "") if broker_key is None else broker_key
    if not key and not broker_key:
        return None
    if not key:
        raise KeyFileError(
            f"the broker's key is given ({BROKER_KEY_ENV}), but not the one of this process: name "
            f"its file in {KEY_ENV}"
        )
    if not broker_key:
        raise KeyFileError(
            f"the key of this process is given ({KEY_ENV}), but not the broker's public key: name "
            f"it, or its file, in {BROKER_KEY_ENV}"
        )
    key_path, broker_path = find(key, environ), find(broker_key, environ)
    pair, (first, *others) = read_pair(key_path), read_public(broker_key, environ)
    is_file = broker_path.is_file()
    return PeerKeys(pair, first, tuple(others), key_path, broker_path if is_file else None)
