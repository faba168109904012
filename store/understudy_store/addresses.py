"""Targets: the addresses of tasks and of unblock messages.

``service-b`` and ``poll://service-b`` mean the same as ``poll://any@service-b``: any node of the
group that has credit. ``poll://any@service-b/node-1`` prefers a node, and
``poll://uni@service-b/node-1`` is for that node only.

The address may also be a URL of another scheme (`RELAYED_SCHEMES`): ``https://pay.example/hook`` or
``nats://10.0.0.5/orders``. A broker has no connections to these. It gives what is for them to a
*carrier*, which has.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from understudy_store.errors import UnderstudyError
from understudy_store.slots import SLOTS

Cast = Literal["any", "uni"]

#: characters of the name of a group or a node
NAME_CHARACTERS_MAX: Final = 128

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~+-]*\Z")
_SCHEME = "poll://"
_SLOT_SCHEME = "slot://"

#: schemes of services, to which an edge pushes
PUSHED_SCHEMES: Final = ("http", "https", "grpc", "grpcs")
#: schemes of addresses that a carrier delivers to: those, and queues
RELAYED_SCHEMES: Final = (
    *PUSHED_SCHEMES, "amqp", "amqps", "nats", "redis", "rediss", "sqs", "kafka",
)  # fmt: skip
#: characters of an address of these schemes
RELAYED_CHARS_MAX: Final = 512
_RELAYED: Final = frozenset(RELAYED_SCHEMES)
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?\Z|[0-9a-f:.]*:[0-9a-f:.]*\Z")
_PRINTABLE_ASCII = re.compile(r"[!-~]*\Z")


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
    """Parse an address of a group or a node; others are none here.

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
            "'poll://any@group[/node]' or 'poll://uni@group/node', or a URL that begins with "
            f"one of {', '.join(RELAYED_SCHEMES)}"
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


def scheme_of(text: str) -> str:
    """Return the scheme of an address as it is stored.

    Examples
    --------
    >>> scheme_of("bank"), scheme_of("https://pay.example/hook"), scheme_of("slot://17")
    ('poll', 'https', 'slot')
    """
    scheme, separator, _ = text.partition("://")
    return scheme if separator else "poll"


def canonical(text: str) -> str:
    """Return the one spelling under which an address is stored.

    Raises
    ------
    InvalidAddressError
        With the text, and what is wrong with it.

    Examples
    --------
    >>> canonical("bank"), canonical("HTTPS://Pay.example/Hook")
    ('poll://any@bank', 'https://pay.example/Hook')
    """
    if isinstance(text, str):
        scheme, separator, rest = text.partition("://")
        if separator and scheme.lower() in _RELAYED:
            return _relayed(scheme.lower(), rest, text)
    return str(parse_target(text))


@lru_cache(maxsize=4096)
def group_of(text: str) -> str:
    """Return what a stored address is searched and counted under: its group, or the address itself.

    Raises
    ------
    InvalidAddressError
        It is no address.

    Examples
    --------
    >>> group_of("poll://any@bank/bank-1"), group_of("https://pay.example/hook")
    ('bank', 'https://pay.example/hook')
    """
    return text if scheme_of(text) in _RELAYED else parse_target(text).group


def _relayed(scheme: str, rest: str, text: str) -> str:
    """Return the canonical form of ``scheme://rest``, which somebody has written as `text`."""
    if len(text) > RELAYED_CHARS_MAX:
        raise InvalidAddressError(
            f"target {text[:80]!r}… has {len(text)} characters; at most {RELAYED_CHARS_MAX} are "
            "allowed"
        )
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        # The text is left out, because it has a secret in it.
        raise InvalidAddressError(
            f"a target {scheme}://… has a user name or a password in it. Targets are stored and "
            "shown to people: leave them out, and give them to whatever delivers there"
        )
    if not _PRINTABLE_ASCII.match(rest) or "\\" in rest:
        raise InvalidAddressError(
            f"target {text!r} has white space, a backslash or a character that is not ASCII: "
            "escape it with %"
        )
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidAddressError(f"target {text!r} is no URL: {error}") from None
    if not host:
        raise InvalidAddressError(f"target {text!r} has no host: write {scheme}://HOST[:PORT]/…")
    if not _HOST.match(host):
        raise InvalidAddressError(f"target {text!r}: {host!r} is not a host")
    return _spelled(parts, rest[len(authority) :])


def _spelled(parts: SplitResult, rest: str) -> str:
    """Return a URL with the host in small letters; what comes after it stays as it is."""
    return f"{parts.scheme}://{parts.netloc.lower()}{rest}"
