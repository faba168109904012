"""Finds out whether the addresses that a process was given lead to brokers of one deployment.

A process works with the broker that answers first, and with those that it tells of. If another
address leads to another deployment, that is a mistake which nobody would notice: the process would
work with one deployment today, and with the other one tomorrow.
"""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import trio

from understudy._version import __version__
from understudy.client.way import open_way
from understudy_broker.errors import LinkError
from understudy_broker.keys.peer_keys import PeerKeys
from understudy_broker.link.link import open_link
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, ToPeer, Welcome

#: seconds in which a broker must answer; those that are away are not waited for
PATIENCE_S: Final = 1.5


class Found(NamedTuple):
    """A broker that has answered at an address."""

    address: str
    welcome: Welcome

    @property
    def text(self) -> str:
        """The broker in words."""
        name, deployment = self.welcome.broker, self.welcome.deployment
        of = f"of the deployment {deployment!r}" if deployment else "of no named deployment"
        return f"the broker {name!r} {of} at {self.address}"


def flaw(url: str, found: Sequence[Found]) -> str | None:
    """Return what is wrong with a URL at whose addresses these brokers answer; None: nothing is."""
    if not found:
        return None
    first, *others = found
    stranger = next((each for each in others if _is_stranger(first.welcome, each.welcome)), None)
    if stranger is None:
        return None
    return (
        f"{url} leads to two deployments: {first.text}, and {stranger.text}. Name the brokers of "
        "one deployment only"
    )


def _is_stranger(one: Welcome, other: Welcome) -> bool:
    """Return whether two brokers that are alive are of two deployments."""
    if one.deployment != other.deployment:
        return True
    # A broker that owns all slots is alone. It may have several addresses.
    return (one.slots is None or other.slots is None) and one.broker != other.broker


def address_of(welcome: Welcome, found: Sequence[Found]) -> str | None:
    """Return the address at which the broker of a welcome has answered."""
    broker = (welcome.broker, welcome.deployment)
    same = (at for at, each in found if (each.broker, each.deployment) == broker)
    return next(same, None)


async def find(addresses: Sequence[str], keys: PeerKeys | None) -> list[Found]:
    """Ask at all addresses at the same time; return those that answer, in this order.

    Parameters
    ----------
    keys
        Those of this process; None: it has none.
    """
    welcomes: dict[str, Welcome] = {}

    async def ask(address: str) -> None:
        try:
            async with (
                open_way(address, keys) as way,
                open_link(address, passing_hello, _ignore, way=way) as link,
            ):
                with trio.move_on_after(PATIENCE_S):
                    welcomes[address] = await link.wait_connected()
        except* LinkError:
            pass  # It refuses this process, or is none.

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address)
    return [Found(address, welcomes[address]) for address in addresses if address in welcomes]


def passing_hello() -> Hello:
    """Introduce this process as a client that asks something and is gone again."""
    return Hello(
        protocol=PROTOCOL_VERSION,
        kind="client",
        group="default",
        # Another name for each link, because a name may be in use only once at a broker.
        name=f"cli-{secrets.token_hex(4)}",
        boot=secrets.token_hex(16),
        os_pid=os.getpid(),
        host=platform.node(),
        sdk=f"python {__version__}",
    )


def _ignore(messages: Sequence[ToPeer]) -> None:
    """Ignore what is no answer to a request."""
