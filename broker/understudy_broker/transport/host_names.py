"""Host names in addresses: the numeric addresses that they stand for.

ZeroMQ looks for addresses of one family only, IPv4 unless told otherwise, and takes the first. So
names are looked up here, and ZeroMQ gets numbers.
"""

from __future__ import annotations

import socket
from typing import Final

import trio

from understudy_broker.address import host_name, split_addresses

#: IPv4 first, because a name such as ``localhost`` often has both, and brokers listen at IPv4
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


class UnknownHostError(Exception):
    """A host name has no address; the message says why."""


def numeric_addresses(address: str) -> list[str]:
    """Return the numeric addresses that an address stands for, IPv4 first; itself if it is one.

    Blocks for as long as the system takes to look a name up.

    Raises
    ------
    UnknownHostError
        The name is not known, or cannot be looked up now.
    """
    name = host_name(address)
    if name is None:
        return [address]
    port = address.rpartition(":")[2]
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        hosts = [
            socket.getnameinfo(entry[4], socket.NI_NUMERICHOST)[0]
            for family in _FAMILIES
            for entry in entries
            if entry[0] == family
        ]
    # A name may also be none by its letters.
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnknownHostError(f"the host name {name!r} is not known ({why})") from None
    if not hosts:
        raise UnknownHostError(f"the host name {name!r} has no address")
    return [
        f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        for host in dict.fromkeys(hosts)
    ]


class Destination:
    """The addresses at which a peer may find its broker, tried in turn.

    There are several if the peer was given several, or a name that has several. A name may also get
    others later.

    Parameters
    ----------
    url
        An address, or several with commas between them; each with a name or a number.

    Attributes
    ----------
    has_others
        Whether another address is worth a try if one does not answer.
    """

    def __init__(self, url: str) -> None:
        self._urls = split_addresses(url)
        self._has_names = any(host_name(each) is not None for each in self._urls)
        self.has_others = self._has_names or len(self._urls) > 1
        self._left: list[str] = []

    async def next(self) -> str:
        """Return the next address to try; names are looked up again when all have been tried.

        Raises
        ------
        UnknownHostError
            No address is known now.
        """
        if not self._left:
            if self._has_names:
                self._left = await trio.to_thread.run_sync(self._look_up, abandon_on_cancel=True)
            else:
                self._left = list(self._urls)
        return self._left.pop(0)

    def _look_up(self) -> list[str]:
        """Return the numeric addresses of all; unknown names among others are left out."""
        found: list[str] = []
        errors: list[UnknownHostError] = []
        for url in self._urls:
            try:
                found += numeric_addresses(url)
            except UnknownHostError as error:
                errors.append(error)
        if not found:
            raise UnknownHostError("; ".join(map(str, errors)))
        return found

    def keep(self, address: str) -> None:
        """Try an address first the next time, without a look-up, because it worked."""
        if self.has_others:
            self._left.insert(0, address)


def is_ipv6(address: str) -> bool:
    """Return whether a numeric address is one of IPv6, for the option of ZeroMQ's sockets."""
    return "[" in address
