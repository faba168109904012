"""The addresses at which an edge listens."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from understudy.errors import ConfigurationError

#: unless it is told otherwise
DEFAULT_LISTEN: Final = "127.0.0.1:8001"


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; an IPv6 host is in brackets.

    Raises
    ------
    ConfigurationError

    Examples
    --------
    >>> parse_listen("127.0.0.1:8001"), parse_listen("[::1]:0")
    (('127.0.0.1', 8001), ('::1', 0))
    """
    host, colon, port = text.removeprefix("http://").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ConfigurationError(
            f"{text!r} is no address to listen at: write HOST:PORT, as in {DEFAULT_LISTEN}; an "
            "IPv6 host in brackets, as in [::1]:8001"
        )
    return ("0.0.0.0" if host == "*" else host), int(port)


def place(host: str, port: int) -> str:
    """Return ``HOST:PORT`` of the two.

    Examples
    --------
    >>> place("::1", 8001)
    '[::1]:8001'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host, given as a number.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host == "::1" or host.startswith("127.")


def is_own(host: str) -> bool:
    """Return whether only this machine reaches a host, as it was given.

    Examples
    --------
    >>> is_own("localhost"), is_own("127.edge.example")
    (True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
