"""The way to the brokers at an address."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from understudy.client.address import is_http
from understudy_broker.link.way import DIRECT, Way


def open_way(url: str) -> AbstractAsyncContextManager[Way]:
    """Open the way that an address takes, for links within the block.

    Parameters
    ----------
    url
        As `broker_address` returns it.
    """
    if not is_http(url):
        return nullcontext(DIRECT)
    # Imported here, because most processes have no use for it.
    from understudy.client.tunnel import open_tunnels

    return open_tunnels(url)
