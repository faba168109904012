"""The streams of an edge, and the brokers: members are attached, offers and unblocks arrive."""

from __future__ import annotations

from functools import partial
from typing import Final

from understudy.edge.asker import ASKER
from understudy.edge.brokers import Brokers, BusyError
from understudy.edge.resonate.streams import Streams
from understudy_broker.link.link import Link
from understudy_broker.protocol.messages import (
    Ack,
    Attach,
    Detach,
    Execute,
    ToPeer,
    Unblock,
    Welcome,
)
from understudy_store.commands import TaskSearch

_FORBIDDEN: Final = 403


def connect_streams(brokers: Brokers) -> Streams:
    """Return streams whose names are members of their groups at all brokers."""
    streams = Streams(
        lambda group, name, identity: brokers.tell(_attach(brokers, group, name, identity)),
        lambda group, name: brokers.tell(Detach(group, name)),
    )
    brokers.follow(partial(_take, streams), partial(_attach_all, brokers, streams))
    return streams


async def serve_refusal(brokers: Brokers, group: str) -> str | None:
    """Return why those who ask may not listen at a group; None if they may.

    A broker refuses the `Attach` of somebody without the right to serve the group, but what it
    sends to a group goes to any listener here. So the right is asked for before: by a search for
    the tasks of the group, which needs the same one.

    Raises
    ------
    NoBrokerError, BusyError
    """
    asker = ASKER.get()
    if asker is None or not brokers.has_keys:
        return None
    reply = await brokers.ask(TaskSearch(group=group, limit=1))
    if reply.status == _FORBIDDEN:
        return (
            f"{asker!r} may not listen at the group {group!r}: that needs the right to serve it, "
            "by a role in the broker's rights.toml"
        )
    if not reply.ok:
        raise BusyError(reply.error or "the broker does not answer this now")
    return None


def _attach(brokers: Brokers, group: str, name: str, identity: str | None) -> Attach:
    return Attach(group, name, identity if brokers.has_keys else None)


def _attach_all(brokers: Brokers, streams: Streams, link: Link, _welcome: Welcome) -> None:
    """Attach everybody again, because a new session carries nobody."""
    for member in streams.members():
        link.send(_attach(brokers, *member))


def _take(streams: Streams, link: Link, message: ToPeer) -> None:
    if isinstance(message, Execute):
        streams.execute(message.group, message.name, message.id, message.version)
    elif isinstance(message, Unblock):
        ack = Ack(message.promise.id, message.address)
        streams.unblock(message.address, message.promise, partial(link.send, ack))
