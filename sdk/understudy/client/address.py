"""The address at which a runtime looks for its broker."""

from __future__ import annotations

import os

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
    will do, and tells the peer of the others.

    Raises
    ------
    ConfigurationError
        It is no address of a broker.
    """
    url = url or os.environ.get("UNDERSTUDY_URL") or DEFAULT_ADDRESS
    addresses = split_addresses(url)
    for address in addresses:
        try:
            _check(address)
        except InvalidBrokerAddressError as error:
            which = "" if len(addresses) == 1 else f" ({address!r} in it)"
            raise ConfigurationError(
                f"url={url!r} is no address of a broker{which}: {error}"
            ) from None
    return ",".join(addresses)


def _check(address: str) -> None:
    if address.startswith("tcp://*:"):
        raise InvalidBrokerAddressError(
            "'*' is where a broker listens, on all interfaces. Name the machine that it runs on, "
            f"as in {connect_address(address)}"
        )
    check_address(address, schemes=("tcp", "ipc", "inproc"), port_min=1)
