"""The addresses that a host name leads to."""

from __future__ import annotations

import ipaddress
from typing import Final

import trio
from trio.socket import getaddrinfo

from understudy.edge.push.networks import Address
from understudy.errors import UnderstudyError

#: addresses of a name that are tried
ADDRESSES_MAX: Final = 8


class ResolutionError(UnderstudyError):
    """A host has no address."""


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host.

    Raises
    ------
    ResolutionError
    """
    try:
        found = await getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ResolutionError(f"{host} cannot be resolved: {error}") from None
    # An address of a link has the name of an interface behind a %.
    texts = [str(each[4][0]).partition("%")[0] for each in found]
    return [ipaddress.ip_address(text) for text in dict.fromkeys(texts)][:ADDRESSES_MAX]
