"""Sealed values: encrypted bytes that only the holders of a key can read, change or make.

A value is sealed as a whole, after it was encoded, with AES-256-GCM. It looks like this:

========== =====================================================================================
bytes      content
========== =====================================================================================
1          `MARK`, with which no msgpack begins
1          the form: `BOUND` to one promise, or only to a function, as the arguments of a `SCHEDULE`
1          the length of the key's id
1 to 32    the key's id, ASCII
12         a random nonce
the rest   the ciphertext, with a tag of 16 bytes
========== =====================================================================================

The tag covers all of that, and the `Place` of the value: so a value that is moved to another
promise, or from a rejection to a result, cannot be opened there.

What is not perfect: a schedule's calls get their ids from the broker, so their arguments are bound
to the function alone, and whoever can change the store can give them to another call of it. Two
sealed values are never equal, so nobody who lacks the key can tell whether two values are. A value
without data (None, the end of a timer) has nothing to seal, so it can be put in another's place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: the first byte of a sealed value; msgpack never uses it
MARK: Final = 0xC1
#: forms: what a value is bound to
BOUND: Final = 1
SCHEDULE: Final = 2
#: Never stored: a value that is not sealed, where only sealed ones are taken.
UNSEALED: Final = 0

SECRET_BYTES: Final = 32
ID_CHARS_MAX: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = 3
#: the most bytes that a sealed value has beyond those of the value
OVERHEAD_BYTES: Final = _HEAD_BYTES + ID_CHARS_MAX + _NONCE_BYTES + _TAG_BYTES
#: the part of a promise that holds the arguments of a call; a value's part is its state
PARAM: Final = "param"

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFUSED: Final = bytes((MARK, UNSEALED))
_encode: Final = msgspec.msgpack.Encoder().encode


class SealKey(NamedTuple):
    """A secret key, and the id by which sealed values name it."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Return a text without the secret, which must not get into logs."""
        return f"SealKey({self.id!r})"


class Place(NamedTuple):
    """The place that a value belongs to: the tag covers it.

    Attributes
    ----------
    id
        The promise; empty for the arguments of a schedule.
    part
        `PARAM`, or the state that the promise is settled with.
    function
        The function of a param; empty if it calls none, and for values, because those who settle a
        promise from outside need not know it.
    """

    id: str
    part: str
    function: str = ""


class Authentic(bytes):
    """A value that this process has made itself, or has opened: only holders of a key can have.

    Of a process with seal keys, pickles are loaded from such values only.
    """

    __slots__ = ()


def is_id(text: str) -> bool:
    """Return whether a text may be the id of a key.

    Examples
    --------
    >>> is_id("k-2f5e"), is_id("-"), is_id("k" * 33)
    (True, False, False)
    """
    return len(text) <= ID_CHARS_MAX and _ID.fullmatch(text) is not None


def is_sealed(data: bytes | bytearray | memoryview | None) -> bool:
    """Return whether data is sealed, whatever with; or was refused because it is not.

    Examples
    --------
    >>> is_sealed(b"\\xc1\\x01"), is_sealed(b"\\x01"), is_sealed(b""), is_sealed(None)
    (True, False, False, False)
    """
    return bool(data) and data is not None and data[0] == MARK


def key_id(data: bytes | bytearray | memoryview) -> str:
    """Return the id of the key that a sealed value names; empty if it is damaged, or not sealed.

    Examples
    --------
    >>> sealer = Sealer([SealKey("k1", bytes(32))])
    >>> key_id(sealer.seal(b"data", Place("pay-1", PARAM, "pay")))
    'k1'
    """
    if len(data) < _HEAD_BYTES or data[0] != MARK or data[1] not in (BOUND, SCHEDULE):
        return ""
    text = str(bytes(data[_HEAD_BYTES : _HEAD_BYTES + data[2]]), "ascii", "replace")
    return text if is_id(text) and len(text) == data[2] else ""


def problem_of(data: bytes | bytearray | memoryview, sealer: Sealer | None) -> str:
    """Say why a value could not be opened in a process with these keys, and what to do."""
    if data[1:2] == bytes((UNSEALED,)):
        return (
            "it is not sealed, and this process takes sealed values only (UNDERSTUDY_SEAL_REQUIRED)"
        )
    id_ = key_id(data)
    if not id_:
        return "it is sealed, but damaged"
    if sealer is None:
        return (
            f"it is sealed with the key {id_!r}, and this process has no seal keys: name their "
            "file in UNDERSTUDY_SEAL_KEYS"
        )
    if not sealer.has(id_):
        return (
            f"it is sealed with the key {id_!r}, which this process does not have: add it to the "
            "file in UNDERSTUDY_SEAL_KEYS"
        )
    return (
        f"it is sealed with the key {id_!r}, but not for this place: it was changed, or moved here "
        "from another promise, or another key has that id"
    )


class Sealer:
    """Seals and opens values. Threads may share it.

    Parameters
    ----------
    keys
        At least one. The first seals, and all open.
    required
        Whether values that are not sealed are refused.

    Examples
    --------
    >>> sealer = Sealer([SealKey("k1", bytes(32))])
    >>> place = Place("pay-1", PARAM, "pay")
    >>> sealed = sealer.seal(b"data", place)
    >>> sealer.opened(sealed, place)
    b'data'
    >>> is_sealed(sealer.opened(sealed, place._replace(id="pay-2")))
    True
    """

    def __init__(self, keys: Sequence[SealKey], *, required: bool = False) -> None:
        # Both are of the extra [seal].
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        #: what a cipher raises: the latter if a nonce is cut off
        self._wrong: Final = (InvalidTag, ValueError)

        self.required = required
        self._ciphers: Final[dict[str, AESGCM]] = {key.id: AESGCM(key.secret) for key in keys}
        first = keys[0].id
        self._first: Final = self._ciphers[first]
        self._heads: Final = {
            form: bytes((MARK, form, len(first))) + first.encode("ascii")
            for form in (BOUND, SCHEDULE)
        }

    def has(self, id_: str) -> bool:
        """Return whether there is a key of this id."""
        return id_ in self._ciphers

    def seal(self, data: bytes, place: Place) -> bytes:
        """Return `data` as only the holders of a key can read it, and only in its place."""
        head = self._heads[BOUND if place.id else SCHEDULE]
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._first.encrypt(nonce, data, _associated(head, place))

    def opened(self, data: bytes, place: Place) -> bytes:
        """Return what was sealed; or the data as it is, if it cannot be opened, or is not sealed.

        A value that is not sealed comes back with a mark if only sealed ones are taken. The codec
        then refuses it, as it does what is still sealed; see `problem_of`.
        """
        if type(data) is Authentic:
            return data
        if not is_sealed(data):
            return _REFUSED + data if self.required else data
        cipher = self._ciphers.get(key_id(data))
        if cipher is None:
            return data
        end = _HEAD_BYTES + data[2]
        head = data[:end]
        if head[1] == SCHEDULE:
            place = place._replace(id="")
        nonce = data[end : end + _NONCE_BYTES]
        try:
            plain = cipher.decrypt(nonce, data[end + _NONCE_BYTES :], _associated(head, place))
        except self._wrong:
            return data
        return Authentic(plain)


def _associated(head: bytes, place: Place) -> bytes:
    return head + _encode((place.part, place.id, place.function))
