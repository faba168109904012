"""The address at which a runtime looks for its broker."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from understudy import extras
from understudy.errors import ConfigurationError
from understudy_broker.address import (
    DEFAULT_ADDRESS,
    InvalidBrokerAddressError,
    check_address,
    connect_address,
    split_addresses,
)


def broker_address(url: str | None) -> str:
    """Return the broker's address: `url`, else UNDERSTUDY_URL, else the default.

    It may be several addresses with commas between them: any broker that answers at one of them
    will do, and tells the peer of the others. Or one or several of edges, through which the brokers
    are reached: ``http://HOST:PORT``.

    Raises
    ------
    ConfigurationError
        It is no address of a broker.
    """
    url = url or os.environ.get("UNDERSTUDY_URL") or DEFAULT_ADDRESS
    addresses = split_addresses(url)
    _check_userinfo(addresses)
    if any(is_http(address) for address in addresses):
        _check_edges(url, addresses)
        return ",".join(addresses)
    for address in addresses:
        try:
            _check(address)
        except InvalidBrokerAddressError as error:
            which = "" if len(addresses) == 1 else f" ({address!r} in it)"
            raise ConfigurationError(
                f"url={url!r} is no address of a broker{which}: {error}"
            ) from None
    return ",".join(addresses)


def is_http(address: str) -> bool:
    """Return whether an address is that of an edge.

    Examples
    --------
    >>> is_http("https://edge.example"), is_http("tcp://127.0.0.1:5577")
    (True, False)
    """
    return address.startswith(("http://", "https://"))


def _check_userinfo(addresses: list[str]) -> None:
    """Raise `ConfigurationError` if there is a user or a password, without showing any of it."""
    # Paths of sockets may have an @, and a password a comma.
    others = [each for each in addresses if not each.startswith(("ipc://", "inproc://"))]
    if "@" in ",".join(others):
        raise ConfigurationError(
            "the address of a broker or an edge has an @, but no user and no password belong into "
            "it: write tcp://HOST:PORT, or http://HOST:PORT. It is not shown here, because it may "
            "have a secret"
        )


def _check_edges(url: str, addresses: list[str]) -> None:
    for address in addresses:
        parts = urlsplit(address)
        try:
            is_one = is_http(address) and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one or parts.query or parts.fragment:
            raise ConfigurationError(
                f"url={url!r}: {address!r} is no address of an edge, which looks like "
                "http://127.0.0.1:8001. Addresses of brokers cannot be among those of edges"
            )
    if name := extras.missing("trio_websocket"):
        raise ConfigurationError(
            extras.advice(f"url={url!r}, which is that of an edge,", name, "http")
        )


def _check(address: str) -> None:
    if address.startswith("tcp://*:"):
        raise InvalidBrokerAddressError(
            "'*' is where a broker listens, on all interfaces. Name the machine that it runs on, "
            f"as in {connect_address(address)}"
        )
    check_address(address, schemes=("tcp", "ipc", "inproc"), port_min=1)
