"""The desk of the broker's core: its parts, and what it owes to whom. Pure.

`BrokerCore` is built on it: `performing` answers requests, `handing` tells of what settled and
hands out tasks, `core` takes frames in and makes batches.
"""

from __future__ import annotations

from typing import Any

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import ReplyBudget
from understudy_broker.core.membership import Membership
from understudy_broker.core.metrics import Counters
from understudy_broker.core.outbox import Frame, Outbox, pack
from understudy_broker.core.reply_coalescer import ReplyCoalescer
from understudy_broker.core.unblocks import Unblocks
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.messages import Message, Refused, Response
from understudy_store.machine import Machine


class BrokerContext:
    """Sessions, watches, dispatch and what is owed, around one machine."""

    def __init__(self, machine: Machine, dispatcher: Dispatcher, config: BrokerConfig) -> None:
        self.machine = machine
        self.dispatcher = dispatcher
        self.config = config
        self.counters = Counters()
        self.unblocks = Unblocks()
        self._watches = Watches()
        self._urgent = Outbox()
        self._outbox = Outbox()
        self.burdens = ReplyBudget(config.outgoing_bytes_max // 4)
        self._patience = ReplyCoalescer(config.patience_ms)
        self._now = 0
        self.membership = Membership(self, self._watches)
        self.sessions = self.membership.sessions

    # Owing -------------------------------------------------------------------------------------

    def refuse(self, peer: bytes, refused: Refused) -> None:
        """Say so at once, and count it."""
        self.counters.refused += 1
        self._urgent.add(peer, refused)

    def say(self, peer: bytes, message: Any, *, urgent: bool = False) -> None:
        """Owe a message: with the next commit, or at once if it depends on none."""
        (self._urgent if urgent else self._outbox).add(peer, message)

    def take_urgent(self) -> list[Frame]:
        """What may be sent before any commit: refusals, beats, welcomes."""
        if not self._urgent:
            return []
        outbox, self._urgent = self._urgent, Outbox()
        frames: list[Frame] = []
        for peer, messages in outbox.messages.items():
            frames += self._frames(peer, messages)
        return frames

    def _owe(self, peer: bytes, size: int) -> None:
        self._outbox.weigh(peer, size)
        self.burdens.owe(peer, size)

    def _packed(self, outbox: Outbox) -> list[Frame]:
        """Frames for who is still there: pushes first, then answers, patient ones not yet.

        Who gets a push has been waiting for it; mere answers mostly say what was expected, and
        their readers would take the processor first.
        """
        frames: list[Frame] = []
        answers: list[Frame] = []
        patience = self._patience
        for peer, messages in outbox.messages.items():
            if peer not in self.sessions:
                continue
            if outbox.patient.get(peer) == len(messages) and patience.hold(
                peer, messages, self._now
            ):
                continue
            mere = type(messages[-1]) is Response
            packed = self._frames(peer, patience.ride(peer, messages))
            (answers if mere else frames).extend(packed)
        return frames + answers

    def _frames(self, peer: bytes, messages: list[Message]) -> list[Frame]:
        """Numbered in the order in which they are to leave, where the peer is known."""
        packed = pack(peer, messages, self.config.frames)
        session = self.sessions.peer(peer)
        if session is None or session.order is None:
            return packed
        stamp = session.order.stamp
        return [(peer, stamp(frame)) for _, frame in packed]

    def be_impatient(self) -> None:
        """Let answers go that were held back; `take_urgent` has them."""
        for peer, messages in self._patience.take().items():
            if peer in self.sessions:
                for message in messages:
                    self._urgent.add(peer, message)
