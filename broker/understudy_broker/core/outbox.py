"""What a batch owes: changes to commit, reads to make in that commit, and messages after it.

Messages are appended in the order in which they arise; a message that waits for a read holds its
place. All that a batch owes to a peer travels in one frame (semantics: Ours, on top, batches).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from understudy_broker.protocol.frames import FrameLimits, split
from understudy_broker.protocol.messages import Message, Refused, Response, Resume
from understudy_store.changes import Changes
from understudy_store.commands import ReadCommand, Reply

Frame: TypeAlias = tuple[bytes, bytes]


class Owed(msgspec.Struct, gc=False):
    """A message that waits for a read: a response, or a resume whose preload it is."""

    command: ReadCommand
    now: int
    peer: bytes
    place: int
    message: Response | Resume


class Outbox:
    """Messages by peer, in order."""

    __slots__ = ("messages", "owed", "answered", "patient", "weights")

    def __init__(self) -> None:
        self.messages: dict[bytes, list[Message]] = {}
        self.owed: list[Owed] = []
        #: requests answered here, by peer
        self.answered: dict[bytes, int] = {}
        #: how many of them may wait
        self.patient: dict[bytes, int] = {}
        #: bytes of large answers, by peer
        self.weights: dict[bytes, int] = {}

    def __bool__(self) -> bool:
        return bool(self.messages)

    def add(self, peer: bytes, message: Message) -> None:
        messages = self.messages.get(peer)
        if messages is None:
            self.messages[peer] = [message]
        else:
            messages.append(message)

    def answer(self, peer: bytes, response: Response, *, patient: bool = False) -> None:
        """Add an answer; `patient`: it may wait for others, see `reply_coalescer`."""
        self.answered[peer] = self.answered.get(peer, 0) + 1
        if patient:
            self.patient[peer] = self.patient.get(peer, 0) + 1
        self.add(peer, response)

    def weigh(self, peer: bytes, size: int) -> None:
        """Among the answers for this peer is one of `size` bytes."""
        self.weights[peer] = self.weights.get(peer, 0) + size

    def owe(self, peer: bytes, message: Response | Resume, command: ReadCommand, now: int) -> None:
        """Add `message`; what the engine answers to `command` will be put into it."""
        if isinstance(message, Response):
            self.answered[peer] = self.answered.get(peer, 0) + 1
        self.add(peer, message)
        self.owed.append(Owed(command, now, peer, len(self.messages[peer]) - 1, message))

    def fill(self, replies: list[Reply]) -> None:
        """Put the replies of the reads, in the order of `owed`, into the messages that wait."""
        for owed, reply in zip(self.owed, replies, strict=True):
            message = owed.message
            filled: Message
            if isinstance(message, Response):
                filled = Response(message.corr, reply)
            else:
                preload = (reply.promises or []) if reply.ok else None
                filled = Resume(message.promise, message.version, preload, message.failures)
            self.messages[owed.peer][owed.place] = filled


class Batch(msgspec.Struct):
    """What one commit takes along; the outbox may leave when it is done."""

    changes: Changes
    outbox: Outbox
    #: bytes of the frames that the requests came in, by peer
    taken_bytes: dict[bytes, int]

    @property
    def reads(self) -> list[Owed]:
        """In the order in which `BrokerCore.committed` wants their replies."""
        return self.outbox.owed

    @property
    def writes(self) -> bool:
        """Whether the store has anything to do; if not, the batch counts as committed."""
        return bool(self.changes) or bool(self.outbox.owed)


def pack(peer: bytes, messages: list[Message], limits: FrameLimits) -> list[Frame]:
    """Frames for one peer. What fits into none is said otherwise, so that nobody waits for it."""
    frames, left_out = split(
        messages,
        soft=limits.frame_bytes_soft,
        hard=limits.peer_frame_bytes_max,
        messages_max=limits.messages_max,
    )
    instead = [smaller for message, _ in left_out if (smaller := _instead(message)) is not None]
    if instead:
        frames += [frame for _, frame in pack(peer, instead, limits)]
    return [(peer, frame) for frame in frames]


def _instead(message: Message) -> Message | None:
    """What to say in the place of a message that is too large."""
    if isinstance(message, Response):
        return Refused(413, "the answer is larger than a frame may be", corr=message.corr)
    if isinstance(message, Resume) and message.preload is not None:
        # the node asks for the preload then, is refused, and can say what is wrong
        return Resume(message.promise, message.version, None, message.failures)
    return None
