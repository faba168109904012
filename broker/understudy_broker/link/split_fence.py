"""Fences whose commands concern several slots, and what becomes of them. Pure.

A fence is performed in one slot, that of its task. Calls and steps that a function has put under
another home are in others. So the part of the task's slot is sent first. Once it is answered, the
task was held, and the other commands are sent by themselves, each to the broker of its slot. The
fence is answered when all are.

That protects from a node that has lost its task as well as one broker does. Such a node may have
been held up after its fence was answered, and then makes a call late. But it may as well have made
that call in time, and then lost the task; and the next node, which does the same as the first, will
find it. The steps of a function that always does the same have the same ids.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from understudy_broker.link.session import Answer, OnReply
from understudy_broker.protocol.messages import OwnCommand, Response
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply, TaskFence
from understudy_store.records import TAG_BRANCH
from understudy_store.slots import slot_of


def elsewhere(fence: TaskFence) -> list[int]:
    """Return the places of the commands that are not in the slot of the task."""
    slot = slot_of(fence.id)
    return [n for n, command in enumerate(fence.commands) if slot_of(command.id) != slot]


class SplitFence:
    """Sends the parts of one fence, and makes one answer of theirs.

    Parameters
    ----------
    there
        What `elsewhere` returned for the fence.
    send
        Sends a command to the broker of its slot. It never raises.
    on_reply
        Called once. For a call that was created elsewhere, the reply of its command has status 201
        and no promise: its broker tells of its settlement only those who watch it.
    """

    def __init__(
        self,
        fence: TaskFence,
        there: list[int],
        send: Callable[[OwnCommand, OnReply], None],
        on_reply: OnReply,
    ) -> None:
        self._fence = fence
        self._there = there
        self._send = send
        self._on_reply = on_reply
        self._replies: list[Reply | None] = [None] * len(fence.commands)
        self._missing = len(there)
        self._now: int | None = None

    @property
    def first(self) -> TaskFence:
        """The fence of the task's own slot, to be sent with `take_first`; it may be empty."""
        fence, there = self._fence, frozenset(self._there)
        own = [command for n, command in enumerate(fence.commands) if n not in there]
        return TaskFence(fence.id, fence.version, tuple(own), fence.full)

    def take_first(self, answer: Answer) -> None:
        """Take the answer to `first`, and send the rest unless it was refused."""
        if not isinstance(answer, Response) or not answer.reply.ok:
            self._on_reply(answer)
            return
        self._now = answer.reply.now
        there = frozenset(self._there)
        own = [n for n in range(len(self._replies)) if n not in there]
        for n, reply in zip(own, answer.reply.replies or [None] * len(own), strict=True):
            self._replies[n] = reply
        for n in self._there:
            self._send(self._under_task(self._fence.commands[n]), partial(self._take, n))

    def _under_task(self, command: PromiseCreate | PromiseSettle) -> OwnCommand:
        """Return a command as the fence would have performed it."""
        if isinstance(command, PromiseSettle) or TAG_BRANCH in command.tags:
            return command
        tags = {**command.tags, TAG_BRANCH: self._fence.id}
        return msgspec.structs.replace(command, tags=tags)

    def _take(self, place: int, answer: Answer) -> None:
        if isinstance(answer, Response):
            reply = answer.reply
            made = reply.promise if reply.status == 201 and not self._fence.full else None
            if made is not None and not made.settled:
                reply = Reply(201)
        else:
            reply = Reply(answer.status, answer.error)
        self._replies[place] = reply
        self._missing -= 1
        if not self._missing:
            self._on_reply(Response(0, Reply(200, replies=self._replies, now=self._now)))
