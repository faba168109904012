"""Answers that nobody waits for: they ride along with the next frame for the same peer.

A node that calls goes on without the answer to its create, and one that has returned a result is
done with it. Such an answer alone in a frame would cost two wake-ups and say what was expected; so
it waits a little for company. Pure, as the core that uses it.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import AnyCommand, Message
from understudy_store.commands import PromiseSettle, Reply, TaskFence, TaskFulfill

#: larger fences are answered at once: their maker may have paused until the answer
FENCE_COMMANDS_MAX: Final = 64
#: answers that are held back for one peer
HELD_MAX: Final = 256


def is_patient(session: Session, command: AnyCommand, reply: Reply) -> bool:
    """Whether this answer may wait: all went as expected, and no step was to be stored."""
    if reply.status != 200 or session.kind != "node":
        return False
    kind = type(command)
    if kind is TaskFulfill:
        return True
    if kind is not TaskFence or reply.replies is None or len(reply.replies) > FENCE_COMMANDS_MAX:
        return False
    if any(inner is not None for inner in reply.replies):
        return False
    commands = command.commands  # type: ignore[union-attr]
    return all(type(inner) is not PromiseSettle for inner in commands)


class ReplyCoalescer:
    """What is held back, by peer, in order.

    Parameters
    ----------
    wait_ms
        How long at most; 0: nothing is.
    """

    def __init__(self, wait_ms: int) -> None:
        self.wait_ms = wait_ms
        self.due_at: int | None = None
        self._held: dict[bytes, list[Message]] = {}

    def hold(self, peer: bytes, messages: list[Message], now: int) -> bool:
        """Keep them; False if there are enough for a frame of their own."""
        held = self._held.get(peer)
        if held is None:
            self._held[peer] = messages
        elif len(held) + len(messages) > HELD_MAX:
            return False
        else:
            held += messages
        if self.due_at is None:
            self.due_at = now + self.wait_ms
        return True

    def ride(self, peer: bytes, messages: list[Message]) -> list[Message]:
        """What goes into the frame: what was held back for this peer, then `messages`."""
        held = self._held.pop(peer, None)
        return messages if held is None else held + messages

    def take(self) -> dict[bytes, list[Message]]:
        """All that is held back."""
        held, self._held, self.due_at = self._held, {}, None
        return held
