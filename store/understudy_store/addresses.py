"""Targets: the addresses of tasks and of unblock messages.

``service-b`` and ``poll://service-b`` mean the same as ``poll://any@service-b``: any node of the
group that has credit. ``poll://any@service-b/node-1`` prefers a node, and
``poll://uni@service-b/node-1`` is for that node only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

from understudy_store.errors import UnderstudyError
from understudy_store.slots import SLOTS

Cast = Literal["any", "uni"]

#: characters of the name of a group or a node
NAME_CHARACTERS_MAX: Final = 128

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~+-]*\Z")
_SCHEME = "poll://"
_SLOT_SCHEME = "slot://"


class InvalidAddressError(UnderstudyError, ValueError):
    """The text is no address; the message says what an address looks like."""


class Target(msgspec.Struct, frozen=True):
    """A parsed address."""

    cast: Cast
    group: str
    node: str | None = None

    def __str__(self) -> str:
        node = f"/{self.node}" if self.node else ""
        return f"{_SCHEME}{self.cast}@{self.group}{node}"


def check_name(name: str, what: str, characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """Return `name` if it may name a group or a node, else raise `InvalidAddressError`.

    Parameters
    ----------
    what
        What the name is, for the message.
    characters_max
        How long it may be, where it names something else.
    """
    given: object = name
    if not isinstance(given, str) or len(given) > characters_max or not _NAME.match(given):
        raise InvalidAddressError(
            f"{what} {name!r} is not valid: use 1 to {characters_max} characters of A-Z, a-z, 0-9 "
            "and . _ : ~ + -, starting with a letter or a digit"
        )
    return name


@lru_cache(maxsize=4096)
def parse_target(text: str) -> Target:
    """Parse an address.

    Raises
    ------
    InvalidAddressError
        With the text and the forms that are allowed.
    """
    if not isinstance(text, str):
        raise InvalidAddressError(f"a target is a string, not {type(text).__name__}")
    rest = text.removeprefix(_SCHEME)
    if rest == text and "://" in text:
        raise InvalidAddressError(
            f"target {text!r} has an unknown scheme: use 'group', 'poll://group', "
            "'poll://any@group[/node]' or 'poll://uni@group/node'"
        )
    cast, at, name = rest.rpartition("@")
    if at and cast not in ("any", "uni"):
        raise InvalidAddressError(f"target {text!r}: 'any' or 'uni' must be before the @")
    group, slash, node = name.partition("/")
    check_name(group, f"target {text!r}: group")
    if slash:
        check_name(node, f"target {text!r}: node")
    if cast == "uni":
        if not slash:
            raise InvalidAddressError(f"target {text!r}: 'uni' needs a node: poll://uni@group/node")
        return Target("uni", group, node)
    return Target("any", group, node or None)


def poll(group: str, node: str | None = None) -> str:
    """Return the address of a group, or of a preferred node in it, for the option `target`.

    Parameters
    ----------
    group : str
        The name of the group.
    node : str, optional
        The id of a node, which is preferred while it has room.

    Returns
    -------
    str
        The address.

    Raises
    ------
    InvalidAddressError
        A name has characters that names cannot have.

    Examples
    --------
    >>> poll("bank"), poll("bank", "bank-1")
    ('poll://any@bank', 'poll://any@bank/bank-1')
    """
    return str(Target("any", check_name(group, "group"), node and check_name(node, "node")))


def slot_address(slot: int) -> str:
    """Return the address at which the broker of a slot hears of promises in other slots.

    Examples
    --------
    >>> slot_address(17)
    'slot://17'
    """
    return f"{_SLOT_SCHEME}{slot}"


def slot_of_address(text: str) -> int | None:
    """Return the slot of an address that `slot_address` has made; None for any other text.

    Examples
    --------
    >>> slot_of_address("slot://17"), slot_of_address("slot://256"), slot_of_address("bank")
    (17, None, None)
    """
    if not text.startswith(_SLOT_SCHEME):
        return None
    number = text.removeprefix(_SLOT_SCHEME)
    slot = int(number) if number.isascii() and number.isdecimal() and len(number) <= 3 else SLOTS
    return slot if slot < SLOTS and slot_address(slot) == text else None


def canonical(text: str) -> str:
    """The one spelling under which a target is stored."""
    return str(parse_target(text))
