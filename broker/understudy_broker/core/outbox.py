"""The outbox: messages that peers are owed, and the frames made of them.

A message is either *urgent*, because it depends on no commit (a refusal, a heartbeat, a welcome),
or belongs to the batch that is being made and leaves after its commit. Messages are kept in the
order in which they arise; a message that waits for a read holds its place. All that a batch owes to
a peer travels in one frame (semantics: Ours, on top, batches).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from understudy_broker.core.audit_trail import AuditTrail
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.reply_coalescer import ReplyCoalescer
from understudy_broker.core.search_queue import Search
from understudy_broker.core.sessions import Sessions
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, encode, split
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Message,
    Refused,
    Response,
    Resume,
    SlotCommand,
)
from understudy_store.changes import Changes
from understudy_store.commands import ReadCommand, Reply

#: the routing id of a peer, and the bytes to send
Frame: TypeAlias = tuple[bytes, bytes]


class PendingRead(msgspec.Struct, gc=False):
    """A message that waits for a read: a response, or a resume whose preload the read gives."""

    command: ReadCommand
    now: int
    peer: bytes
    place: int
    message: Response | Resume


class BatchOutbox:
    """Messages of one batch by peer, in order."""

    __slots__ = ("messages", "reads", "searches", "answered", "delayable")

    def __init__(self) -> None:
        self.messages: dict[bytes, list[Message]] = {}
        self.reads: list[PendingRead] = []
        #: to be begun after the commit
        self.searches: list[Search] = []
        #: number of replies, by peer
        self.answered: dict[bytes, int] = {}
        #: number of those replies that may be delayed, by peer
        self.delayable: dict[bytes, int] = {}

    def fill(self, replies: list[Reply]) -> None:
        """Put the replies to `reads`, in their order, into the messages that wait for them."""
        for read, reply in zip(self.reads, replies, strict=True):
            message = read.message
            filled: Message
            if isinstance(message, Response):
                filled = Response(message.corr, reply)
            else:
                preload = (reply.promises or []) if reply.ok else None
                filled = Resume(message.promise, message.version, preload, message.failures)
            self.messages[read.peer][read.place] = filled


class Batch(msgspec.Struct):
    """One commit, and the messages that may leave after it.

    Attributes
    ----------
    changes
        To be made durable.
    request_bytes, reply_bytes
        Bytes by peer that the commit releases; see `FlowControl.take_batch`.
    requests
        To the owners of other slots, after the commit.
    """

    changes: Changes
    outbox: BatchOutbox
    request_bytes: dict[bytes, int]
    reply_bytes: dict[bytes, int]
    requests: list[SlotCommand] = []

    @property
    def reads(self) -> list[PendingRead]:
        """Reads to make after the changes; `BrokerCore.committed` takes their replies in order."""
        return self.outbox.reads


class Outbox:
    """Urgent messages, and those of the batch that is being made.

    Attributes
    ----------
    urgent
        By peer; to be read only.
    """

    def __init__(
        self,
        sessions: Sessions,
        coalescer: ReplyCoalescer,
        limits: FrameLimits,
        metrics: Metrics,
        audit: AuditTrail | None = None,
    ) -> None:
        self._audit = audit
        self._sessions = sessions
        self._coalescer = coalescer
        self._limits = limits
        self._metrics = metrics
        self.urgent: dict[bytes, list[Message]] = {}
        self._batch = BatchOutbox()
        #: frames to send at once, before those of `urgent`
        self._frames: list[Frame] = []

    # Messages at once ----------------------------------------------------------------------------

    def add_urgent(self, peer: bytes, message: Message) -> None:
        """Send a message at once: it must say nothing that a failed commit would make untrue."""
        self.urgent.setdefault(peer, []).append(message)

    def refuse(self, peer: bytes, refused: Refused) -> None:
        """Send a refusal at once, and count it."""
        self._metrics.refused += 1
        self.add_urgent(peer, refused)

    def refuse_older(self, peer: bytes, version: int) -> None:
        """Refuse a peer that speaks an older version of the protocol, in a frame of its version.

        Refusals have looked the same in every version, so it understands this one.
        """
        self._metrics.refused += 1
        text = (
            f"this peer speaks protocol version {version}, and the broker version "
            f"{PROTOCOL_VERSION}: install the same version of understudy on both sides"
        )
        frame = encode([Refused(426, text, fatal=True)])
        self._frames.append((peer, bytes([version]) + frame[1:]))

    @property
    def has_urgent(self) -> bool:
        """True if frames may be sent before any commit."""
        return bool(self.urgent or self._frames)

    def flush_delayed(self) -> None:
        """Send the delayed replies at once."""
        for peer, messages in self._coalescer.flush().items():
            if peer in self._sessions.by_peer:
                self.urgent.setdefault(peer, []).extend(messages)

    def take_urgent(self) -> list[Frame]:
        """Return the frames that may be sent before any commit."""
        urgent, self.urgent = self.urgent, {}
        frames, self._frames = self._frames, []
        for peer, messages in urgent.items():
            frames += self._pack(peer, messages)
        return frames

    # Messages after the commit -------------------------------------------------------------------

    def add(self, peer: bytes, message: Message) -> None:
        """Send a message after the next commit."""
        messages = self._batch.messages.get(peer)
        if messages is None:
            self._batch.messages[peer] = [message]
        else:
            messages.append(message)

    def reply(self, peer: bytes, response: Response, *, may_be_delayed: bool = False) -> None:
        """Send the reply to a request after the next commit, or with a later frame."""
        if self._audit is not None:
            self._audit.replied(peer, response.corr, response.reply)
        batch = self._batch
        batch.answered[peer] = batch.answered.get(peer, 0) + 1
        if may_be_delayed:
            batch.delayable[peer] = batch.delayable.get(peer, 0) + 1
        messages = batch.messages.get(peer)
        if messages is None:
            batch.messages[peer] = [response]
        else:
            messages.append(response)

    def add_with_read(
        self, peer: bytes, message: Response | Resume, command: ReadCommand, now: int
    ) -> None:
        """Send a message after the next commit, with what the engine then answers to `command`."""
        batch = self._batch
        if isinstance(message, Response):
            batch.answered[peer] = batch.answered.get(peer, 0) + 1
        self.add(peer, message)
        place = len(batch.messages[peer]) - 1
        batch.reads.append(PendingRead(command, now, peer, place, message))

    def add_search(self, search: Search) -> None:
        """Begin a search after the next commit."""
        self._batch.searches.append(search)

    def take_batch(self) -> BatchOutbox | None:
        """Return the messages and searches since the last call; None if there are none."""
        if not (self._batch.messages or self._batch.searches):
            return None
        batch, self._batch = self._batch, BatchOutbox()
        return batch

    def delayed_until(self, batch: BatchOutbox, now: int) -> int | None:
        """Return when the replies that `frames_of` will delay are due; None if it delays none."""
        for peer, count in batch.delayable.items():
            if count == len(batch.messages[peer]):
                return now + self._coalescer.delay_ms
        return None

    def frames_of(self, batch: BatchOutbox, now: int) -> list[Frame]:
        """Return the frames of a batch that is committed, for the peers that are still connected.

        Frames with pushes come before those with replies only, because pushes unblock waiting work.
        Replies usually confirm what the node assumed, and processing them first would delay that.
        """
        frames: list[Frame] = []
        replies: list[Frame] = []
        by_peer, coalescer, delayable = self._sessions.by_peer, self._coalescer, batch.delayable
        for peer, messages in batch.messages.items():
            if peer not in by_peer:
                continue
            if (
                delayable
                and delayable.get(peer) == len(messages)
                and coalescer.delay(peer, messages, now)
            ):
                continue
            only_replies = type(messages[-1]) is Response
            if coalescer.delayed:
                messages = coalescer.merge_into(peer, messages)
            (replies if only_replies else frames).extend(self._pack(peer, messages))
        return frames + replies if replies else frames

    def _pack(self, peer: bytes, messages: list[Message]) -> list[Frame]:
        """Make frames, numbered in the order in which they are to leave."""
        session = self._sessions.by_peer.get(peer)
        sequence = None if session is None else session.sequence
        return pack(peer, messages, self._limits, sequence)


def pack(
    peer: bytes,
    messages: list[Message],
    limits: FrameLimits,
    sequence: FrameSequence | None = None,
) -> list[Frame]:
    """Make frames for one peer. A message that fits into none is replaced by a smaller one."""
    frames, left_out = split(
        messages,
        soft=limits.frame_bytes_soft,
        hard=limits.peer_frame_bytes_max,
        messages_max=limits.messages_max,
        sequence=sequence,
    )
    if len(frames) == 1 and not left_out:
        return [(peer, frames[0])]
    packed = [(peer, frame) for frame in frames]
    if left_out:
        smaller = list(_replacements(message for message, _ in left_out))
        if smaller:
            packed += pack(peer, smaller, limits, sequence)
    return packed


def _replacements(messages: Iterable[Message]) -> Iterable[Message]:
    """Yield smaller messages that stand for larger ones, so that no peer waits for those."""
    for message in messages:
        if isinstance(message, Response):
            text = "the reply is larger than a frame may be: ask for less at a time"
            yield Refused(413, text, corr=message.corr)
        elif isinstance(message, Resume) and message.preload is not None:
            # The node then asks for the preload, is refused, and can report the reason.
            yield Resume(message.promise, message.version, None, message.failures)
