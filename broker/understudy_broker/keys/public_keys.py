"""Public and secret keys as text: 40 characters of ZeroMQ's base 85 (Z85). Pure."""

from __future__ import annotations

from typing import Final

#: characters of a key
KEY_CHARS: Final = 40
_DIGITS: Final = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_GROUP: Final = 5


def is_key(text: str) -> bool:
    """Return whether a text is a key: 40 digits of Z85 that stand for 32 bytes.

    Examples
    --------
    >>> is_key("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"), is_key("node.key")
    (True, False)
    """
    if len(text) != KEY_CHARS or not all(digit in _VALUES for digit in text):
        return False
    groups = (text[at : at + _GROUP] for at in range(0, KEY_CHARS, _GROUP))
    return all(_number(group) < 2**32 for group in groups)


def text_of(raw: bytes) -> str:
    """Return the text of a key's 32 bytes.

    Examples
    --------
    >>> text_of(bytes(32))
    '0000000000000000000000000000000000000000'
    """
    words = (int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4))
    return "".join(
        _DIGITS[word // 85**place % 85] for word in words for place in reversed(range(_GROUP))
    )


def _number(group: str) -> int:
    number = 0
    for digit in group:
        number = number * 85 + _VALUES[digit]
    return number
