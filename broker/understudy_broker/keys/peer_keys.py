"""The keys by which a peer reaches a broker that asks for keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from understudy_broker.keys.key_files import KeyFileError, KeyPair, find, read_pair, read_public

#: the path of this process's secret key, and the broker's public key or its path
KEY_ENV: Final = "UNDERSTUDY_KEY"
BROKER_KEY_ENV: Final = "UNDERSTUDY_BROKER_KEY"


class PeerKeys(NamedTuple):
    """The keys of one peer: its own pair, and the public key of its brokers."""

    pair: KeyPair
    broker: str


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
    return PeerKeys(read_pair(find(key, environ)), read_public(broker_key, environ))
