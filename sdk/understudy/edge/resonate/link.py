"""The streams of an edge, and the brokers: members are attached, offers and unblocks arrive."""

from __future__ import annotations

from functools import partial

from understudy.edge.brokers import Brokers
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


def connect_streams(brokers: Brokers) -> Streams:
    """Return streams whose names are members of their groups at all brokers."""
    streams = Streams(
        lambda group, name: brokers.tell(Attach(group, name)),
        lambda group, name: brokers.tell(Detach(group, name)),
    )
    brokers.follow(partial(_take, streams), partial(_attach_all, streams))
    return streams


def _attach_all(streams: Streams, link: Link, _welcome: Welcome) -> None:
    """Attach everybody again, because a new session carries nobody."""
    for group, name in streams.members():
        link.send(Attach(group, name))


def _take(streams: Streams, link: Link, message: ToPeer) -> None:
    if isinstance(message, Execute):
        streams.execute(message.group, message.name, message.id, message.version)
    elif isinstance(message, Unblock):
        ack = Ack(message.promise.id, message.address)
        streams.unblock(message.address, message.promise, partial(link.send, ack))
