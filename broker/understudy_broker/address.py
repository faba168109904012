"""Addresses of brokers, such as ``tcp://127.0.0.1:5577``: the default, and the rules they obey."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Collection
from typing import Final

#: Where a broker listens, and peers look for it, unless told otherwise.
DEFAULT_ADDRESS: Final = "tcp://127.0.0.1:5577"

PORT_MAX: Final = 65_535
#: bytes of the path of a socket
SOCKET_PATH_BYTES_MAX: Final = 107 if sys.platform == "linux" else 103

_HOST_AND_PORT: Final = re.compile(
    r"(?P<host>[\w.*-]+|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]):(?P<port>[0-9]{1,5})"
)
#: of a URL, up to its last @: a password may have one that is not quoted
_USERINFO: Final = re.compile(r"://\S*@")
_ANY_INTERFACE: Final = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


class InvalidBrokerAddressError(ValueError):
    """The text is no address of a broker. The message says what one looks like."""


def check_address(
    address: str, *, schemes: Collection[str] = ("tcp", "ipc"), port_min: int = 0
) -> str:
    """Check an address of a broker, and return it.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT``, ``ipc://PATH`` or ``inproc://NAME``.
    schemes
        The schemes that are allowed here.
    port_min
        The lowest port that is allowed: 0 lets the system choose one, 1 forbids that.

    Raises
    ------
    InvalidBrokerAddressError
        It is none.

    Examples
    --------
    >>> check_address("tcp://10.0.0.5:5577")
    'tcp://10.0.0.5:5577'
    >>> check_address("tcp://10.0.0.5")
    Traceback (most recent call last):
    ...
    understudy_broker.address.InvalidBrokerAddressError: a tcp address ends with a port from 0 to \
65535: it looks like tcp://127.0.0.1:5577
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in schemes or not rest:
        raise InvalidBrokerAddressError(
            f"an address looks like {DEFAULT_ADDRESS} or ipc:///run/understudy"
        )
    if scheme == "ipc" and _bytes_of(rest) > SOCKET_PATH_BYTES_MAX:
        raise InvalidBrokerAddressError(
            f"the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, and this one has "
            f"{_bytes_of(rest)}: choose a shorter one, such as ipc:///run/understudy"
        )
    if scheme == "tcp":
        match = _HOST_AND_PORT.fullmatch(rest)
        if match is None or not port_min <= int(match["port"]) <= PORT_MAX:
            raise InvalidBrokerAddressError(
                f"a tcp address ends with a port from {port_min} to {PORT_MAX}: it looks like "
                f"{DEFAULT_ADDRESS}"
            )
    return address


def _bytes_of(path: str) -> int:
    """Return the bytes of a path as the system has it, which may be no text."""
    return len(path.encode(sys.getfilesystemencoding(), "surrogateescape"))


def split_addresses(url: str) -> list[str]:
    """Return the addresses of a text that may have several, with commas between them.

    Examples
    --------
    >>> split_addresses("tcp://a:5577, tcp://b:5577")
    ['tcp://a:5577', 'tcp://b:5577']
    """
    return [address.strip() for address in url.split(",")]


def without_userinfo(text: str) -> str:
    """Return a text in which no URL has a user or a password.

    Examples
    --------
    >>> without_userinfo("it is 'tcp://me:secret@10.0.0.5:5577'")
    "it is 'tcp://…@10.0.0.5:5577'"
    """
    return _USERINFO.sub("://…@", text)


def connect_address(listen: str) -> str:
    """Return the address at which this machine reaches a broker that listens at `listen`.

    Examples
    --------
    >>> connect_address("tcp://*:5577")
    'tcp://127.0.0.1:5577'
    """
    host, port = _host_and_port(listen)
    known = _ANY_INTERFACE.get(host)
    return listen if known is None else f"tcp://{known}:{port}"


def is_any_interface(address: str) -> bool:
    """Return whether an address stands for all interfaces, so that only a listener can use it.

    Examples
    --------
    >>> is_any_interface("tcp://0.0.0.0:5577"), is_any_interface("tcp://10.0.0.5:5577")
    (True, False)
    """
    return address.startswith("tcp://") and _host_and_port(address)[0] in _ANY_INTERFACE


def host_name(address: str) -> str | None:
    """Return the host's name in an address; None if it has a number, a wildcard, or no host.

    Examples
    --------
    >>> host_name("tcp://db.example.org:5577"), host_name("tcp://[::1]:5577")
    ('db.example.org', None)
    """
    if not address.startswith("tcp://"):
        return None
    host, _ = _host_and_port(address)
    if host in _ANY_INTERFACE or host.startswith("["):
        return None
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return host
    return None


def is_reachable_by_others(listen: str) -> bool:
    """Return whether other machines can reach a broker that listens at `listen`."""
    if not listen.startswith("tcp://"):
        return False
    host, _ = _host_and_port(listen)
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # ``*``, the name of an interface or of a host
        return True


def _host_and_port(address: str) -> tuple[str, str]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, port
