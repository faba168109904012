"""Signatures of pushes, as in the Standard Webhooks specification. Pure.

The edge signs what it pushes, and the receiver verifies it with the same key: that nobody else has
made it, that it is as it was made, and that it is not old. See https://www.standardwebhooks.com.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from understudy.errors import ConfigurationError, UnderstudyError

#: environment variable that has the key
KEY_VARIABLE: Final = "UNDERSTUDY_PUSH_KEY"
#: headers of a push
ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
#: how far the clocks of sender and receiver may differ, together with the time on the way
TOLERANCE_S: Final = 300
#: bytes of a key
KEY_BYTES: Final = range(24, 65)
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
#: signatures of one push that are looked at
_SIGNATURES_MAX: Final = 16
_HOW: Final = "make one with: echo whsec_$(openssl rand -base64 32)"


class SignatureError(UnderstudyError):
    """A push is not signed with the key, or is too old; the message says which."""


def parse_keys(text: str, where: str) -> tuple[bytes, ...]:
    """Return the keys of a text: one in each line, base64 with or without ``whsec_`` before it.

    There is more than one while a key is replaced by another.

    Parameters
    ----------
    where
        Where the text is from, for the errors. They never show the text itself.

    Raises
    ------
    ConfigurationError

    Examples
    --------
    >>> len(parse_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "here")[0])
    24
    """
    keys = tuple(_key_of(line.strip(), where) for line in text.splitlines() if line.strip())
    if not keys:
        raise ConfigurationError(f"there is no key in {where}: {_HOW}")
    return keys


def _key_of(line: str, where: str) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"the key in {where} is not base64: {_HOW}") from None
    if len(key) not in KEY_BYTES:
        raise ConfigurationError(
            f"the key in {where} has {len(key)} bytes; it needs {KEY_BYTES[0]} to {KEY_BYTES[-1]}: "
            f"{_HOW}"
        )
    return key


def sign(keys: Sequence[bytes], id_: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body, with each of the keys.

    Examples
    --------
    >>> keys = parse_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "here")
    >>> sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')[SIGNATURE]
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signatures = [f"{_VERSION},{_signature(key, id_, str(timestamp_s), body)}" for key in keys]
    return {ID: id_, TIMESTAMP: str(timestamp_s), SIGNATURE: " ".join(signatures)}


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> None:
    """Verify a push.

    Parameters
    ----------
    keys
        Any of them will do.
    headers
        By their names in small letters.

    Raises
    ------
    SignatureError
    """
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        raise SignatureError(f"the header {missing[0]} is missing")
    timestamp = headers[TIMESTAMP]
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise SignatureError(f"{TIMESTAMP} is not a time in epoch seconds")
    apart_s = abs(int(timestamp) - now_s)
    if apart_s > TOLERANCE_S:
        raise SignatureError(
            f"{TIMESTAMP} is {apart_s:.0f} s from this machine's clock; at most {TOLERANCE_S} s "
            "are allowed"
        )
    given = [each.partition(",") for each in headers[SIGNATURE].split(" ", _SIGNATURES_MAX)]
    signatures = [rest.encode() for version, _, rest in given if version == _VERSION]
    for key in keys:
        expected = _signature(key, headers[ID], timestamp, body).encode()
        for signature in signatures[:_SIGNATURES_MAX]:
            if hmac.compare_digest(expected, signature):
                return
    raise SignatureError("it is not signed with this key")


def _signature(key: bytes, id_: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((id_.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
