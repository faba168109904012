"""Flow control: bounds of what peers may ask for, and of what they are owed.

Three things are counted. *Unanswered requests* of each peer, and the bytes of the frames they came
in: a request beyond the bound is refused with 429. *Requests that wait for the next commit*, of all
peers together: beyond the bound the shell stops reading. And *large replies*: a request of a few
bytes may be answered with megabytes. A peer that asks for many of those must not make the broker
hold them all, and it should not be dropped as too slow merely because it asked. Past its reply
budget, the rest of its requests is deferred until the shell has sent what it holds. Pure, as the
core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from understudy_broker.core.authorization import whose
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.outbox import Batch
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.sessions import Session, Sessions
from understudy_broker.protocol.messages import Bye, Refused, Request
from understudy_broker.protocol.placement import own_command
from understudy_store.commands import Reply, TaskFence
from understudy_store.records import PromiseRecord, payload_bytes

#: a message that waits for a step, and the session it came from
SessionRequest: TypeAlias = tuple[Session, Request | Bye]

#: Smaller replies are not counted: the bound on unanswered requests bounds them.
LIGHT_BYTES_MAX: Final = 4_096


class Deferred:
    """Deferred requests of one peer, and the bytes of the frames they came in."""

    __slots__ = ("queue", "request_bytes")

    def __init__(self) -> None:
        self.queue: list[SessionRequest] = []
        self.request_bytes = 0


class ReplyBudget:
    """Bytes of large replies by peer, and the requests that are deferred because of them.

    Parameters
    ----------
    bytes_max
        Bytes that one peer may be owed, or was sent since its queue in the shell was last empty.

    Attributes
    ----------
    deferred
        By peer, for each peer past its bound; to be read only.
    sent
        Bytes by peer that were handed to the shell since the peer's queue there was last empty; to
        be read only.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.deferred: dict[bytes, Deferred] = {}
        #: in batches that are not committed yet
        self._owed: dict[bytes, int] = {}
        self.sent: dict[bytes, int] = {}

    def owe(self, peer: bytes, size: int) -> None:
        """Count a reply that waits for its commit."""
        owed = self._owed[peer] = self._owed.get(peer, 0) + size
        if owed + self.sent.get(peer, 0) >= self.bytes_max and peer not in self.deferred:
            self.deferred[peer] = Deferred()

    def on_committed(self, reply_bytes: dict[bytes, int]) -> None:
        """Count the large replies of a batch as handed to the shell."""
        for peer, size in reply_bytes.items():
            owed = self._owed.pop(peer) - size
            if owed:
                self._owed[peer] = owed
            self.sent[peer] = self.sent.get(peer, 0) + size

    def on_drained(self, peer: bytes) -> Deferred | None:
        """Note that the shell holds nothing for a peer; return requests that need not wait now."""
        self.sent.pop(peer, None)
        if self._owed.get(peer, 0) >= self.bytes_max:
            return None
        return self.deferred.pop(peer, None)


class FlowControl:
    """The bounds of all peers, and what counts against them."""

    def __init__(self, config: BrokerConfig, sessions: Sessions, quotas: Quotas) -> None:
        self._config = config
        self._quotas = quotas
        self._sessions = sessions
        self.budget = ReplyBudget(config.outgoing_bytes_max // 4)
        #: requests that wait for the next commit
        self._requests = 0
        #: bytes of the frames they came in, and of large replies to them, by peer
        self._request_bytes: dict[bytes, int] = {}
        self._reply_bytes: dict[bytes, int] = {}

    @property
    def full(self) -> bool:
        """True if enough waits for the next commit; the shell then reads no more."""
        return self._requests >= self._config.batch_requests_max or (
            bool(self._request_bytes)
            and sum(self._request_bytes.values()) >= self._config.batch_bytes_max
        )

    # Requests ------------------------------------------------------------------------------------

    def admit(self, session: Session, request: Request, size: int, now: int) -> Refused | None:
        """Count a request as unanswered; return a refusal instead if the peer has too many.

        Parameters
        ----------
        size
            Bytes of its frame; 0 for all requests of a frame but the first.
        """
        config = self._config
        if session.inflight >= config.inflight_max or (
            session.inflight_bytes > config.inflight_bytes_max
        ):
            text = (
                f"{session.inflight} requests ({session.inflight_bytes} bytes) are unanswered: "
                "wait for replies before you send more"
            )
            return Refused(429, text, corr=request.corr)
        if self._quotas.is_on:
            identity = whose(session, request.command)
            command = own_command(request.command)
            count = len(command.commands) if type(command) is TaskFence else 1
            wait_ms = self._quotas.arrival(identity, count, size, now)
            if wait_ms:
                text = f"{identity!r} sends more than its limit in rights.toml allows"
                self._quotas.note_refused(identity, text, now)
                return Refused(429, text, corr=request.corr, retry_after_ms=wait_ms)
        session.inflight += 1
        if size:
            session.inflight_bytes += size
            peer = session.peer
            self._request_bytes[peer] = self._request_bytes.get(peer, 0) + size
        self._requests += 1
        return None

    def defer(self, queue: list[SessionRequest]) -> list[SessionRequest]:
        """Defer the requests of peers past their reply budget; return the rest, in order."""
        deferred = self.budget.deferred
        rest: list[SessionRequest] = []
        for each in queue:
            waiting = deferred.get(each[0].peer)
            if waiting is None:
                rest.append(each)
            else:
                waiting.queue.append(each)
        return rest

    def take_back(self, is_waiting: Callable[[bytes], bool]) -> list[SessionRequest]:
        """Return deferred requests of the peers that have taken all that they were sent."""
        back: list[SessionRequest] = []
        for peer in list(self.budget.sent):
            if is_waiting(peer):
                continue
            deferred = self.budget.on_drained(peer)
            if deferred is not None:
                back += deferred.queue
                if deferred.request_bytes:
                    size = self._request_bytes.get(peer, 0) + deferred.request_bytes
                    self._request_bytes[peer] = size
        return back

    # Replies -------------------------------------------------------------------------------------

    def owe(self, peer: bytes, size: int) -> None:
        """Count a large reply, which leaves with the next batch."""
        self._reply_bytes[peer] = self._reply_bytes.get(peer, 0) + size
        self.budget.owe(peer, size)

    def take_batch(self, requests_left: int) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """Return the bytes of requests and of large replies that the next commit releases.

        Parameters
        ----------
        requests_left
            Requests that wait for a later batch. The bytes of a frame are released with the last
            of its requests, so none are while any request waits, unless it is deferred.
        """
        reply_bytes, self._reply_bytes = self._reply_bytes, {}
        request_bytes: dict[bytes, int] = {}
        self._requests = requests_left
        if not requests_left:
            request_bytes, self._request_bytes = self._request_bytes, request_bytes
            for peer, deferred in self.budget.deferred.items():
                if deferred.queue:
                    deferred.request_bytes += request_bytes.pop(peer, 0)
        return request_bytes, reply_bytes

    def takes_replies(self, peer: bytes) -> bool:
        """Return whether a peer has taken most of the large replies that it was sent."""
        return self.budget.sent.get(peer, 0) < self.budget.bytes_max

    def on_searched(self, session: Session, reply: Reply) -> None:
        """Count a search as answered, and its reply as sent if it is large."""
        session.inflight = max(0, session.inflight - 1)
        size = reply_bytes(reply)
        if size > LIGHT_BYTES_MAX:
            self.budget.sent[session.peer] = self.budget.sent.get(session.peer, 0) + size

    def on_committed(self, batch: Batch) -> None:
        """Count the requests of a batch as answered, and its large replies as sent."""
        if batch.reply_bytes:
            self.budget.on_committed(batch.reply_bytes)
        by_peer = self._sessions.by_peer
        # Never below zero, because the requests may be those of an earlier session.
        for peer, count in batch.outbox.answered.items():
            session = by_peer.get(peer)
            if session is not None:
                session.inflight = max(0, session.inflight - count)
        for peer, size in batch.request_bytes.items():
            session = by_peer.get(peer)
            if session is not None:
                session.inflight_bytes = max(0, session.inflight_bytes - size)


def bytes_of(records: Iterable[PromiseRecord]) -> int:
    """Return the bytes of payload in promises."""
    return sum(map(payload_bytes, records))


def reply_bytes(reply: Reply) -> int:
    """Return the bytes of payload in a reply."""
    size = 0
    if reply.promise is not None:
        size = payload_bytes(reply.promise)
    if reply.promises:
        size += bytes_of(reply.promises)
    if reply.replies:
        for inner in reply.replies:
            if inner is not None:
                size += reply_bytes(inner)
    return size
