"""The way to the brokers at an address."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from understudy.client.address import is_http
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.link.way import Direct, Way


def open_way(url: str, keys: PeerKeys | None) -> AbstractAsyncContextManager[Way]:
    """Open the way that an address takes, for links within the block.

    Parameters
    ----------
    url
        As `broker_address` returns it.
    keys
        Those of this process; None: it has none.
    """
    if not is_http(url):
        return nullcontext(Direct(keys))
    # Imported here, because most processes have no use for it.
    from understudy.client.tunnel import open_tunnels

    return open_tunnels(url, keys)
