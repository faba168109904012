"""`LinkSession`: the session logic of a link. Pure: no socket, no clock.

How it works
------------
A session outlives its connections. Each connection begins with the frame that `open` returns (a
`Hello`), is *connected* from the broker's `Welcome` on, and ends with `close`.

A request stays here until it is answered, because a connection may break at any time and every
request may be repeated without harm (see `messages`). After each welcome all unanswered requests
are sent again, in the order in which they were made, since later ones may rely on earlier ones. An
answer that comes twice is ignored the second time. So each `on_reply` is called once.

A message that is no request (credit, an acknowledgment) is sent only while connected, and dropped
otherwise: the next hello makes up for it.

Three bounds hold requests back. `backlog_max` limits the unanswered requests in all, sent or not;
beyond it `request` raises. The broker's `inflight_max` limits those that are sent; the others are
*held* in a heap and sent in order as answers make room. And if the broker refuses one with 429, it
has too much from this peer: that request is held again, and nothing is sent until the next answer
or heartbeat of the broker, or for as long as it says, because it would be refused again.

Frames are numbered in both directions (`FrameSequence`). If a frame of the broker is missing, or
if the broker says that it does not know this connection, or leaves, `is_broken` becomes true and a
new connection puts it right. `heartbeat` notices a broker that is silent.

What is not perfect: a request that the broker has performed, but whose answer was lost with the
connection, is performed again after the reconnect; it is only harmless because commands are
idempotent or fenced. And nothing bounds the bytes of unanswered requests, only their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from sys import maxsize
from typing import Final, TypeAlias

import msgspec

from understudy_broker.errors import (
    HelloRefusedError,
    LinkError,
    LinkFullError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.link.heartbeat import Heartbeat
from understudy_broker.link.throttle import Throttle
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, encode, split
from understudy_broker.protocol.messages import (
    AnyCommand,
    Beat,
    Bye,
    Delegated,
    Hello,
    Message,
    Refused,
    Request,
    Response,
    SlotMap,
    Slots,
    ToBroker,
    ToPeer,
    Welcome,
)
from understudy_broker.protocol.placement import flaw

#: the answer to a request
Answer: TypeAlias = Response | Refused
OnReply: TypeAlias = Callable[[Answer], None]

#: Status of a reply to a request whose slot is another broker's: nothing was performed.
MISDIRECTED: Final = 421
#: errors of a refusal for good, by status
_FATAL_ERRORS: Final[dict[int, type[LinkError]]] = {409: NameInUseError, 426: ProtocolMismatchError}


class _OpenRequest(msgspec.Struct):
    """A request without an answer. `held` is True while it is in `LinkSession._held`, not sent."""

    request: Request
    on_reply: OnReply
    held: bool = False


class LinkStatistics(msgspec.Struct, frozen=True):
    """A link's state.

    Attributes
    ----------
    connections
        How many connections the broker has welcomed.
    unanswered
        Requests without an answer, sent or held back.
    held
        Those that are not sent yet because of the broker's bound, or while not connected.
    last_error
        Why the link is not connected; None if nothing went wrong.
    """

    connected: bool
    connections: int
    unanswered: int
    held: int
    last_error: str | None


class LinkSession:
    """A peer's end of a session. Times (`now`) are milliseconds of any clock that never goes back.

    Parameters
    ----------
    backlog_max
        Requests that may be unanswered, sent or not.
    limits
        Bounds of the frames that are sent; the broker's own may be lower.
    is_busy
        Returns whether this peer has anything at stake beside its unanswered requests. While it
        has not, heartbeats are rarer. By default it always has.
    check_welcome
        Returns what is wrong with a welcome, if it is not that of the broker that is meant; None:
        nothing is. By default every broker will do.
    on_moved
        Called with the command and the `on_reply` of each request that the broker has not
        performed, because the slot is another broker's. By default such a refusal is an answer.
    on_slots
        Called with each newer map of slots that the broker tells of, before `on_moved`.

    Attributes
    ----------
    connected
        True from a connection's welcome to its end.
    welcome
        The broker's last welcome.
    failure
        Why the link has ended for good; None while it has not.
    last_error
        What went wrong last, in words; None after a welcome. The connection sets it, too.
    outgoing
        Messages to be sent with the next `take_frames`.
    round_trip_ms
        The time between the last hello and its welcome.
    broker_left
        True if the broker has said `Bye` on this connection, of itself or to answer ours.
    """

    def __init__(
        self,
        *,
        backlog_max: int = 65_536,
        limits: FrameLimits | None = None,
        is_busy: Callable[[], bool] | None = None,
        check_welcome: Callable[[Welcome], str | None] | None = None,
        on_moved: Callable[[AnyCommand, OnReply], None] | None = None,
        on_slots: Callable[[SlotMap], None] | None = None,
    ) -> None:
        self.backlog_max = backlog_max
        self.limits = limits or FrameLimits()
        self.heartbeat = Heartbeat(is_busy or _always)
        self.connected = False
        self.welcome: Welcome | None = None
        self.failure: LinkError | None = None
        self.last_error: str | None = None
        self.outgoing: list[ToBroker] = []
        self.round_trip_ms = 0
        self.broker_left = False
        self._check_welcome = check_welcome
        self._on_moved = on_moved
        self._on_slots = on_slots
        self._connections = 0
        self._corr = 0
        #: by correlation number, in the order in which they were made
        self._open_requests: dict[int, _OpenRequest] = {}
        #: a heap of the correlation numbers of held requests; those answered meanwhile are skipped
        self._held: list[int] = []
        self._held_count = 0
        self._throttle = Throttle()
        self._frame_bytes_max = self.limits.frame_bytes_max
        self._inflight_max = 1
        self._sequence = FrameSequence()
        self._opened_at = 0
        self._must_reconnect = False

    # Requests and messages -----------------------------------------------------------------------

    @property
    def unanswered(self) -> int:
        """The number of requests without an answer."""
        return len(self._open_requests)

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        """Send a command; `on_reply` is called once, with its answer.

        Returns
        -------
        int
            The request's correlation number, for `forget`.

        Raises
        ------
        LinkFullError
            `backlog_max` requests are unanswered.
        """
        requests = self._open_requests
        if len(requests) >= self.backlog_max:
            raise LinkFullError(
                f"{self.backlog_max} requests are unanswered: wait until some are answered"
            )
        self._corr += 1
        corr = self._corr
        request = Request(corr, command)
        # If none is held, all unanswered requests are in flight.
        has_room = self.connected and not self._held_count and len(requests) < self._inflight_max
        requests[corr] = opened = _OpenRequest(request, on_reply)
        if has_room:
            self.outgoing.append(request)
        else:
            self._hold(corr, opened)
        return corr

    def amend(self, change: Callable[[AnyCommand], AnyCommand]) -> None:
        """Change the commands of all unanswered requests, as they will be sent on this connection.

        To be called with a welcome, before anything is sent.
        """
        for corr, opened in self._open_requests.items():
            opened.request = Request(corr, change(opened.request.command))
        self.outgoing = [
            self._open_requests[message.corr].request if type(message) is Request else message
            for message in self.outgoing
        ]

    def take_back(
        self, is_wanted: Callable[[AnyCommand], bool]
    ) -> list[tuple[AnyCommand, OnReply]]:
        """Remove the unanswered requests whose commands are wanted, and return them, oldest first.

        Those that were sent may be performed all the same; the answers are ignored then.
        """
        requests = self._open_requests
        found = {corr: each for corr, each in requests.items() if is_wanted(each.request.command)}
        if found:
            for corr, opened in found.items():
                del requests[corr]
                self._held_count -= opened.held
                # In `_held` the number is skipped when its turn comes.
            self.outgoing = [
                message
                for message in self.outgoing
                if type(message) is not Request or message.corr not in found
            ]
        return [(each.request.command, each.on_reply) for each in found.values()]

    def forget(self, corr: int) -> None:
        """Ignore the answer of a request; the broker may perform it all the same."""
        opened = self._open_requests.get(corr)
        if opened is not None:
            opened.on_reply = _ignore

    def send(self, message: ToBroker) -> bool:
        """Send a message that is no request; drop it and return False while not connected."""
        if self.connected:
            self.outgoing.append(message)
        return self.connected

    def statistics(self) -> LinkStatistics:
        """Return the numbers of this moment."""
        return LinkStatistics(
            connected=self.connected,
            connections=self._connections,
            unanswered=len(self._open_requests),
            held=self._held_count,
            last_error=self.last_error,
        )

    def _hold(self, corr: int, opened: _OpenRequest) -> None:
        """Keep a request until there is room. The oldest leaves first, whenever it was held."""
        if not opened.held:
            opened.held = True
            self._held_count += 1
            heappush(self._held, corr)

    def _release_held(self) -> None:
        """Send held requests, oldest first, as far as the broker's bound allows."""
        room = self._inflight_max - (len(self._open_requests) - self._held_count)
        while room > 0 and self._held:
            opened = self._open_requests.get(heappop(self._held))
            if opened is not None and opened.held:
                opened.held = False
                self._held_count -= 1
                self.outgoing.append(opened.request)
                room -= 1

    # The connection ------------------------------------------------------------------------------

    def open(self, hello: Hello, now: int) -> bytes:
        """Begin a new connection, and return its first frame."""
        self.broker_left = self._must_reconnect = False
        self._opened_at = now
        self.heartbeat.begin(now)
        self._sequence = FrameSequence()
        return self._sequence.stamp(encode([hello]))

    def close(self, reason: str) -> bool:
        """End the connection, and return whether it was connected."""
        was_connected, self.connected = self.connected, False
        self.last_error = reason
        self.outgoing.clear()
        return was_connected

    def fail(self, error: LinkError) -> None:
        """End the link for good."""
        self.failure = error

    def rejoin(self) -> None:
        """Give the connection up for a new one, with a new hello."""
        self._must_reconnect = True

    def is_broken(self, now: int) -> bool:
        """Return whether to give the connection up, because the broker is silent or forgot it."""
        return self._must_reconnect or now >= self.heartbeat.silent_at

    def next_due(self) -> int:
        """Return the time of the next heartbeat, or at which the broker's silence is too long."""
        heartbeat = self.heartbeat
        return min(heartbeat.due_at, heartbeat.silent_at, self._throttle.until or maxsize)

    # Receiving -----------------------------------------------------------------------------------

    def accepts(self, frame: bytes | memoryview) -> bool:
        """Return whether to decode this frame; called once for each frame that arrives.

        A frame that came before is ignored. A gap in the numbers ends the connection, see
        `is_broken`.
        """
        place = self._sequence.check(frame)
        if place == "gap":
            self._must_reconnect = True
            self.last_error = "frames of the broker are missing"
        return place == "next"

    def receive(self, messages: Sequence[ToPeer], now: int) -> list[ToPeer]:
        """Process messages, and return those that are for the peer itself, in order.

        Answers go to the `on_reply` of their requests. A `Welcome` is returned, too. Afterwards
        see `failure` and `is_broken`.
        """
        self.heartbeat.heard(now)
        rest: list[ToPeer] = []
        for message in messages:
            kind = type(message)
            if kind is Response:
                self._answer(message)  # type: ignore[arg-type]  # `kind` narrows nothing
            elif kind is Beat:
                self._throttle.heard()
            elif kind is Welcome:
                self.round_trip_ms = now - self._opened_at
                if self._welcomed(message):  # type: ignore[arg-type]  # as above
                    rest.append(message)
            elif kind is Slots:
                self._take_slots(message.slots)  # type: ignore[arg-type, union-attr]  # as above
            elif kind is Refused:
                if not self._refused(message, now):  # type: ignore[arg-type]  # as above
                    rest.append(message)
            elif kind is Bye:
                self._must_reconnect = self.broker_left = True
                self.last_error = "the broker has stopped"
            else:
                rest.append(message)
        if self._held and self.connected and not self._throttle.holds(now):
            self._release_held()
        return rest

    def _answer(self, answer: Answer) -> None:
        assert answer.corr is not None
        self._throttle.heard()
        # Unknown if this is the second answer to a request that was sent twice.
        opened = self._open_requests.pop(answer.corr, None)
        if opened is not None:
            self._held_count -= opened.held
            if (
                type(answer) is Response
                and answer.reply.status == MISDIRECTED
                and self._on_moved is not None
            ):
                self._on_moved(opened.request.command, opened.on_reply)
            else:
                opened.on_reply(answer)

    def _take_slots(self, slots: SlotMap) -> None:
        """Pass a map on. If it cannot be used, the broker is left alone until it tells a better."""
        if self._on_slots is None:
            return
        wrong = flaw(slots)
        if wrong is None:
            self._on_slots(slots)
        else:
            self.last_error = _told_nonsense(wrong)
            self._must_reconnect = True

    def _welcomed(self, welcome: Welcome) -> bool:
        """Take a welcome; return False if it is not that of the broker that is meant."""
        wrong = None if self._check_welcome is None else self._check_welcome(welcome)
        if wrong is None and welcome.slots is not None and (found := flaw(welcome.slots)):
            wrong = _told_nonsense(found)
        if wrong is not None:
            self.last_error = wrong
            self._must_reconnect = True
            return False
        self.welcome = welcome
        self.connected = True
        self._connections += 1
        self.last_error = None
        self.heartbeat.welcome(welcome)
        self._inflight_max = welcome.inflight_max
        self._frame_bytes_max = min(self.limits.frame_bytes_max, welcome.frame_bytes_max)
        self._throttle.end()
        for opened in self._open_requests.values():
            opened.held = True
        self._held = list(self._open_requests)  # A sorted list is a heap.
        self._held_count = len(self._held)
        self.outgoing.clear()
        return True

    def _refused(self, refused: Refused, now: int) -> bool:
        """Process a refusal, and return False if the peer should hear of it."""
        if refused.fatal:
            self.fail(_FATAL_ERRORS.get(refused.status, HelloRefusedError)(refused.error))
            return True
        if refused.status == 412:
            self._must_reconnect = True
            self.last_error = refused.error
            return True
        if refused.corr is None:
            self.last_error = f"the broker refuses this peer for now: {refused.error}"
            # A hello that is refused for now is said again, on another connection: this one would
            # only take one of the broker's descriptors meanwhile.
            self._must_reconnect = self._must_reconnect or not self.connected
            return False
        opened = self._open_requests.get(refused.corr)
        is_anothers = opened is not None and isinstance(opened.request.command, Delegated)
        if refused.status == 429 and opened is not None and not is_anothers:
            # It was not performed. It keeps its place before the requests made later.
            self._hold(refused.corr, opened)
            # The peer hears of it once for each wait.
            return not self._throttle.refused(refused.retry_after_ms, now)
        self._answer(refused)
        return True

    # Sending -------------------------------------------------------------------------------------

    def take_frames(self, now: int) -> list[bytes]:
        """Return the frames to send now, as few as possible, with a heartbeat if one is due."""
        heartbeat = self.heartbeat
        if self._throttle.until is not None and self.connected and not self._throttle.holds(now):
            self._release_held()
        if (
            now >= heartbeat.earliest_at
            and self.connected
            and heartbeat.beat(now, waiting=bool(self._open_requests))
        ):
            self.outgoing.append(Beat())
        if not self.outgoing:
            return []
        messages, self.outgoing = self.outgoing, []
        frames, unfit = split(
            messages,
            soft=self._frame_bytes_max,
            hard=self._frame_bytes_max,
            messages_max=self.limits.messages_max,
            sequence=self._sequence,
        )
        for message, reason in unfit:
            self._refuse_unfit(message, reason)
        return frames

    def _refuse_unfit(self, message: Message, reason: str | None) -> None:
        """Answer a request that fits into no frame; `reason` is None if it is too large."""
        if not isinstance(message, Request):
            return
        if reason is None:
            text = f"the request is larger than a frame may be ({self._frame_bytes_max} bytes)"
            self._answer(Refused(413, text, corr=message.corr))
        else:
            self._answer(Refused(400, f"the request cannot be sent: {reason}", corr=message.corr))


def _told_nonsense(wrong: str) -> str:
    return (
        f"the broker tells a map of slots that cannot be ({wrong}): install the same version of "
        "understudy on both sides"
    )


def _ignore(_: Answer) -> None:
    return


def _always() -> bool:
    return True
