"""The address at which a runtime looks for its broker."""

from __future__ import annotations

import os

from understudy.errors import ConfigurationError
from understudy_broker.address import (
    DEFAULT_ADDRESS,
    InvalidBrokerAddressError,
    check_address,
    connect_address,
)


def broker_address(url: str | None) -> str:
    """Return the broker's address: `url`, else UNDERSTUDY_URL, else the default.

    Raises
    ------
    ConfigurationError
        It is no address of a broker.
    """
    url = url or os.environ.get("UNDERSTUDY_URL") or DEFAULT_ADDRESS
    try:
        if url.startswith("tcp://*:"):
            raise InvalidBrokerAddressError(
                "'*' is where a broker listens, on all interfaces. Name the machine that it runs "
                f"on, as in {connect_address(url)}"
            )
        return check_address(url, schemes=("tcp", "ipc", "inproc"), port_min=1)
    except InvalidBrokerAddressError as error:
        raise ConfigurationError(f"url={url!r} is no address of a broker: {error}") from None
