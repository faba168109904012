"""IP addresses that an edge may connect to, by the networks that they are in. Pure.

A name is not enough to judge by: whoever has the name decides which address it leads to, and may
change it at any time. So the address itself is judged, after it was resolved, and the connection
goes to that address and no other.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

#: ``public``: anywhere in the internet. ``private``: this machine, or a network of its owner.
#: ``never``: services of the machine's host, and what is no destination at all.
Reach: TypeAlias = Literal["public", "private", "never"]

#: where clouds tell their machines secrets; most are link-local besides
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
    )
)
#: IPv6 addresses in which an IPv4 address is the last 32 bits
_TRANSLATED: Final = (
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::/96"),
    ipaddress.IPv6Network("::ffff:0:0:0/96"),
)
#: networks of their owner that `ipaddress` takes for global: the old site-local addresses, and
#: those of translators (SIIT)
_LOCAL: Final = (ipaddress.IPv6Network("fec0::/10"), ipaddress.IPv6Network("::ffff:0:0:0/96"))
_ORDER: Final = ("public", "private", "never")


def reach_of(address: Address) -> Reach:
    """Return how far an address reaches; of one within another one, the worse of both.

    Examples
    --------
    >>> reach_of(ipaddress.ip_address("93.184.216.34"))
    'public'
    >>> reach_of(ipaddress.ip_address("127.0.0.1")), reach_of(ipaddress.ip_address("fd00::1"))
    ('private', 'private')
    >>> reach_of(ipaddress.ip_address("::ffff:169.254.169.254"))
    'never'
    """
    embedded = _embedded(address)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return max((_own_reach(each) for each in embedded), key=_ORDER.index)
    return max((_own_reach(each) for each in (address, *embedded)), key=_ORDER.index)


def _own_reach(address: Address) -> Reach:
    if (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and (address.is_reserved or int(address) >> 24 == 0))
    ):
        return "never"
    is_local = any(address in network for network in _LOCAL)
    return "public" if address.is_global and not is_local else "private"


def _embedded(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses within an IPv6 address that a gateway may send on to."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [each for each in found if each is not None]
