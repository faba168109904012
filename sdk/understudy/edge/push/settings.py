"""Settings of an edge that pushes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from understudy.edge.options import EdgeOptions
from understudy.edge.push.allow_list import AllowList, parse_allow_list
from understudy.errors import ConfigurationError
from understudy.signatures import KEY_VARIABLE, parse_keys


class PushSettings(msgspec.Struct, frozen=True):
    """Settings of the pushes of an edge.

    Attributes
    ----------
    allowed
        The hosts that are pushed to.
    keys
        Each push is signed with all of them.
    server_url
        The address of an edge that receivers are told. None: the one at which this one listens.
    host_max
        Deliveries under way to one host and port; answers that are held count as well.
    connect_s
        How long a connection may take, the search for the address of a name included.
    answer_s
        How long all of it may take.
    """

    allowed: AllowList
    keys: tuple[bytes, ...]
    server_url: str | None = None
    host_max: int = 32
    connect_s: float = 5.0
    answer_s: float = 20.0


def push_settings(options: EdgeOptions) -> PushSettings | None:
    """Return the settings that the options of an edge give; None: nothing is pushed.

    Raises
    ------
    ConfigurationError
        There is no key, or something is not well formed.
    """
    allowed = parse_allow_list(options.push)
    if not allowed:
        return None
    return PushSettings(
        allowed,
        _keys(options.push_key_file),
        options.push_url,
        host_max=max(1, options.push_max // 2),
        answer_s=options.push_timeout,
    )


def _keys(key_file: Path | None) -> tuple[bytes, ...]:
    if key_file is not None:
        try:
            text = key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigurationError(f"the key file {key_file} cannot be read: {reason}") from None
        return parse_keys(text, f"the file {key_file}")
    text = os.environ.get(KEY_VARIABLE, "")
    if not text.strip():
        raise ConfigurationError(
            "pushes are signed, so that receivers know who sends them, and there is no key: give "
            f"a file with --push-key-file, or set {KEY_VARIABLE}; make a key with: "
            "echo whsec_$(openssl rand -base64 32)"
        )
    return parse_keys(text, f"the variable {KEY_VARIABLE}")
