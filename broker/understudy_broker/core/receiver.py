"""The receiver: it takes frames, obeys session messages at once, and queues requests. Pure.

A frame is checked for its place in the connection, decoded, and its messages are taken in order. A
request is admitted if its peer has not too many unanswered ones. A goodbye is queued like a
request, because what a peer asked for before it left is still performed.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.core.authorization import whose
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.flow_control import FlowControl
from understudy_broker.core.membership import Membership
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.poll_scheme import PollScheme
from understudy_broker.core.progress import ProgressBook
from understudy_broker.core.quotas import Quotas, work_of
from understudy_broker.core.relay_scheme import RelayScheme
from understudy_broker.core.request_queue import RequestQueue
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.frames import (
    FrameError,
    FrameSequence,
    decode_to_broker,
    number_of,
    salvage,
    version_of,
)
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Attach,
    Beat,
    Bye,
    Carry,
    Credit,
    Detach,
    Forwarded,
    Functions,
    Hello,
    Progress,
    Pulse,
    Refused,
    Request,
    ToBroker,
)

#: what a malformed frame counts, and one unit more for so many bytes: it is read several times
MALFORMED_WORK: Final = 4
MALFORMED_BYTES: Final = 256


class Receiver:
    """Takes frames for the core.

    Attributes
    ----------
    flooding
        Peers whose frames were dropped, for the shell to cut their connections.
    has_input
        More than heartbeats has come since a step that made no batch; `BrokerCore` resets it.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        sessions: Sessions,
        membership: Membership,
        poll: PollScheme,
        relay: RelayScheme,
        queue: RequestQueue,
        outbox: Outbox,
        flow: FlowControl,
        metrics: Metrics,
        quotas: Quotas,
        progress: ProgressBook,
        config: BrokerConfig,
    ) -> None:
        self._progress = progress
        self._quotas = quotas
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._membership = membership
        self._poll = poll
        self._relay = relay
        self._queue = queue
        self._outbox = outbox
        self._flow = flow
        self._metrics = metrics
        self._config = config
        self._audit = config.audit
        self.has_input = True
        self.flooding: list[bytes] = []

    def receive(self, peer: bytes, frame: bytes | memoryview, now: int) -> None:
        """Take a frame: session messages take effect at once, requests wait for a step."""
        self._metrics.frames += 1
        session = self._sessions.by_peer.get(peer)
        identity = None
        if self._quotas.is_on:
            identity = self._sessions.identity_of(peer)
            if self._quotas.floods(identity, now):
                self._on_flood(peer, session, now)
                return
        sequence = None if session is None else session.sequence
        if session is not None and sequence is not None:
            place = sequence.check(frame)
            if place != "next":
                self._on_out_of_order(session, place, now)
                return
        messages: list[ToBroker] | None
        try:
            messages = decode_to_broker(frame, self._config.frames)
        except FrameError as error:
            self._quotas.note_work(identity, MALFORMED_WORK + len(frame) // MALFORMED_BYTES)
            messages = self._salvage(peer, frame, error)
            if messages is None:
                return
        if identity is not None:
            self._quotas.note_work(identity, sum(map(work_of, messages)))
        if session is not None:
            session.heard_at = now
            if len(messages) == 1 and type(messages[0]) is Beat:
                self._membership.on_beat(session, now)
                return
        self.has_input = True
        size = len(frame)
        for message in messages:
            if type(message) is Request and session is not None:
                refused = self._flow.admit(session, message, size, now)
                size = 0
                if refused is None:
                    self._queue.waiting.append((session, message))
                else:
                    self._metrics.count_limited("requests")
                    self._outbox.refuse(peer, refused)
                    if self._audit is not None:
                        self._audit.too_many(session, whose(session, message.command), refused, now)
            elif type(message) is Hello:
                session = self._on_hello(peer, message, now)
                if session is not None and (number := number_of(frame)) is not None:
                    session.sequence = sequence or FrameSequence(number)
            elif session is None:
                if type(message) is Pulse:
                    self._membership.stalls.on_pulse(peer, message.pid)
                elif type(message) is not Bye:
                    text = "this connection is not known here: say hello first"
                    self._outbox.refuse(peer, Refused(412, text))
                return
            elif type(message) is Bye:
                self._queue.waiting.append((session, message))
                return
            else:
                self._on_session_message(session, message, now)

    def _on_out_of_order(self, session: Session, place: str, now: int) -> None:
        """Drop a frame that came again; end the connection if frames are missing."""
        if place == "again":
            self._metrics.frames_repeated += 1
            return
        self._metrics.frames_missing += 1
        text = "frames are missing on this connection: say hello again"
        self._outbox.refuse(session.peer, Refused(412, text))
        self.has_input = True
        self._membership.connection_lost(session.peer, now, "frames are missing")

    def _on_flood(self, peer: bytes, session: Session | None, now: int) -> None:
        """Drop a frame of an identity that floods the broker, unread, and so end its session."""
        self._metrics.frames_flooding += 1
        self._metrics.count_limited("frames")
        self.flooding.append(peer)
        if session is not None:
            self.has_input = True
            text = f"{session.identity!r} says more than its limits permit: say hello again later"
            self._outbox.refuse(session.peer, Refused(412, text))
            self._membership.connection_lost(session.peer, now, "it floods the broker")

    def _salvage(
        self, peer: bytes, frame: bytes | memoryview, error: FrameError
    ) -> list[ToBroker] | None:
        """Refuse a malformed frame, or only its malformed requests; return the other messages."""
        self.has_input = True
        self._metrics.malformed += 1
        messages, malformed = salvage(frame) if error.status == 400 else ([], [])
        for corr, text in malformed:
            self._outbox.refuse(peer, Refused(400, text, corr=corr))
        if messages or malformed:
            return messages
        if error.status == 426 and 0 < version_of(frame) < PROTOCOL_VERSION:
            self._outbox.refuse_older(peer, version_of(frame))
        else:
            self._outbox.refuse(peer, Refused(error.status, str(error), fatal=error.status == 426))
        return None

    def _on_hello(self, peer: bytes, hello: Hello, now: int) -> Session | None:
        """Return the peer's session: a new one, or the one it had if the hello is refused."""
        session = self._membership.join(peer, hello, now)
        if session is None:
            return self._sessions.by_peer.get(peer)
        if self._audit is not None:
            self._audit.joined(session, self._sessions.address_of(peer), now)
        self._poll.send_owed(session)
        return session

    def _on_session_message(self, session: Session, message: ToBroker, now: int) -> None:
        if type(message) is Credit:
            self._dispatcher.credit(session.pid, message.total)
        elif type(message) is Beat:
            self._membership.on_beat(session, now)
        elif type(message) is Ack:
            self._poll.acknowledge(session, message)
        elif type(message) is Functions:
            self._membership.add_functions(session, message)
        elif type(message) is Attach:
            self._poll.attach(session, message)
        elif type(message) is Detach:
            self._poll.detach(session, message)
        elif type(message) is Carry:
            self._relay.carry(session, message)
        elif type(message) is Forwarded:
            self._relay.forwarded(session, message, now)
        elif type(message) is Progress:
            self._progress.take(session, message, now)
