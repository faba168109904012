"""Coalescing of replies: those that nobody waits for travel with the next frame for the same peer.

A node that calls goes on without the reply to its create, and a node that has returned a result
has no further use for the reply. Such a reply alone in a frame would cost two wake-ups and say what
was expected, so it is delayed a little, until something else leaves for the same peer. Pure, as the
core that uses it.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import AnyCommand, Message
from understudy_store.commands import PromiseSettle, Reply, TaskFence, TaskFulfill

#: Larger fences are answered at once, because their node may have paused until the reply comes.
FENCE_COMMANDS_MAX: Final = 64
#: replies that are delayed for one peer
DELAYED_MAX: Final = 256


def may_be_delayed(session: Session, command: AnyCommand, reply: Reply) -> bool:
    """Return whether nobody waits for this reply: all went as expected, and no step was stored."""
    if reply.status != 200 or session.kind != "node":
        return False
    if type(command) is TaskFulfill:
        return True
    replies = reply.replies
    if type(command) is not TaskFence or replies is None or len(replies) > FENCE_COMMANDS_MAX:
        return False
    if replies.count(None) != len(replies):
        return False
    return PromiseSettle not in map(type, command.commands)


class ReplyCoalescer:
    """Delayed replies by peer, in order.

    Parameters
    ----------
    delay_ms
        How long a reply is delayed at most; 0: none is.

    Attributes
    ----------
    delayed
        The replies by peer; to be read only.
    due_at
        When `flush` is due, epoch milliseconds; None: nothing is delayed.
    """

    def __init__(self, delay_ms: int) -> None:
        self.delay_ms = delay_ms
        self.due_at: int | None = None
        self.delayed: dict[bytes, list[Message]] = {}

    def delay(self, peer: bytes, messages: list[Message], now: int) -> bool:
        """Delay these messages; return False if there are enough now for a frame of their own."""
        delayed = self.delayed.get(peer)
        if delayed is None:
            self.delayed[peer] = messages
        elif len(delayed) + len(messages) > DELAYED_MAX:
            return False
        else:
            delayed += messages
        if self.due_at is None:
            self.due_at = now + self.delay_ms
        return True

    def merge_into(self, peer: bytes, messages: list[Message]) -> list[Message]:
        """Return the messages of a frame: the delayed replies for this peer, then `messages`."""
        delayed = self.delayed.pop(peer, None)
        return messages if delayed is None else delayed + messages

    def flush(self) -> dict[bytes, list[Message]]:
        """Return all delayed replies, and delay them no longer."""
        delayed, self.delayed, self.due_at = self.delayed, {}, None
        return delayed
