"""The keys of this process, for brokers that ask for keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from understudy.errors import ConfigurationError

if TYPE_CHECKING:
    from understudy_broker.keys.peer_keys import PeerKeys


#: the variables of `read_peer_keys`, which is not imported for them
_KEY: Final = "UNDERSTUDY_KEY"
_BROKER_KEY: Final = "UNDERSTUDY_BROKER_KEY"

#: the environment of a child whose broker has no keys, whatever this process has
NO_KEYS: Final = {_KEY: "", _BROKER_KEY: ""}


def key_variables(key: str | None, broker_key: str | None, *, has_none: bool) -> dict[str, str]:
    """Return what the environment of a child has to say of keys, beyond that of this process.

    Parameters
    ----------
    key, broker_key
        As for `process_keys`.
    has_none
        The child's broker has no keys.
    """
    if has_none:
        return NO_KEYS
    given = {_KEY: key, _BROKER_KEY: broker_key}
    return {name: text for name, text in given.items() if text is not None}


def process_keys(key: str | None = None, broker_key: str | None = None) -> PeerKeys | None:
    """Read the keys of this process; return None if it has none.

    Parameters
    ----------
    key
        The path of the secret key; None: as UNDERSTUDY_KEY says.
    broker_key
        The brokers' public key, or its path; None: as UNDERSTUDY_BROKER_KEY says.

    Raises
    ------
    ConfigurationError
        Only one of them is given, or a file cannot be used.
    """
    # Imported here because it loads ZeroMQ, as does the connection that needs the keys.
    from understudy_broker.keys.key_files import KeyFileError
    from understudy_broker.keys.peer_keys import read_peer_keys

    try:
        return read_peer_keys(key, broker_key)
    except KeyFileError as error:
        raise ConfigurationError(str(error)) from None
