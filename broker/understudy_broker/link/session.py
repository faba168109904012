"""The session logic of a link, pure: what is unanswered, what may be sent, what to send again.

A peer's connection may break at any time, and its requests are safe to repeat (see `messages`). So
a request stays here until it is answered; a new connection begins with `Hello` and, once welcomed,
sends again all that is unanswered, in its order. What is not a request (credit, acks) is only sent
while connected: the next hello makes up for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Final, TypeAlias

import msgspec

from understudy_broker.errors import (
    HelloRefusedError,
    LinkError,
    LinkFullError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, encode, split
from understudy_broker.protocol.messages import (
    AnyCommand,
    Beat,
    Bye,
    Hello,
    Message,
    Refused,
    Request,
    Response,
    ToBroker,
    ToPeer,
    Welcome,
)

#: what a request is answered with
Answer: TypeAlias = Response | Refused
OnReply: TypeAlias = Callable[[Answer], None]

#: until a broker has said how often
DEFAULT_BEAT_MS: Final = 2_500
#: beats without a word from the broker after which a connection counts as lost
SILENT_BEATS: Final = 3
#: who has nothing at stake beats a little early, at the next of so many moments between two beats,
#: which are the same for all processes of a machine: their beats come together, and the broker
#: wakes once for all of them
MOMENTS_PER_BEAT: Final = 10


class _Pending:
    __slots__ = ("request", "on_reply", "held")

    def __init__(self, request: Request, on_reply: OnReply, held: bool) -> None:
        self.request = request
        self.on_reply = on_reply
        #: waits for room, in `LinkSession._held`
        self.held = held


class LinkStatistics(msgspec.Struct, frozen=True):
    """`unanswered`: sent or held back; `held`: of these, not sent because of the broker's bound."""

    connected: bool
    connections: int
    unanswered: int
    held: int
    last_error: str | None


class LinkSession:
    """One peer's end of a session. `now` is in milliseconds of any clock that does not go back.

    Parameters
    ----------
    engaged
        Whether this peer holds or waits for something, beside what is unanswered here. While it
        does not, it beats more rarely. Asked when a beat is due.
    """

    def __init__(
        self,
        *,
        backlog_max: int = 65_536,
        limits: FrameLimits | None = None,
        engaged: Callable[[], bool] | None = None,
    ) -> None:
        self.backlog_max = backlog_max
        self._engaged = engaged or _always
        self.limits = limits or FrameLimits()
        self.welcome: Welcome | None = None
        self.connected = False
        self.connections = 0
        self.last_error: str | None = None
        #: set when the broker refused this peer for good
        self.failure: LinkError | None = None
        self._corr = 0
        #: unanswered, in the order in which they were asked
        self._pending: dict[int, _Pending] = {}
        #: a heap of those that wait for room, each once; one answered meanwhile is skipped
        self._held: list[int] = []
        self._held_count = 0
        #: the broker has too much of ours: nothing more until it has answered some of it
        self._choked = False
        self._outgoing: list[ToBroker] = []
        self._frames_max = self.limits.frame_bytes_max
        self._inflight_max = 1
        self._order = FrameSequence()
        #: from the last hello to its welcome
        self.round_trip_ms = 0
        self._opened_at = 0
        self._heard_at = 0
        self._beat_at = 0
        #: the first beat since the broker was heard; None: it owes no sign of life
        self._asked_at: int | None = None
        #: this beat is left out
        self._resting = False
        #: the broker has said `Bye`: it stops, or answers ours
        self.dismissed = False
        self._hello_again = False

    # What the peer's own code asks for -----------------------------------------------------------

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        """Ask; `on_reply` is called once with the answer. Returns the request's `corr`.

        Raises
        ------
        LinkFullError
            `backlog_max` requests are unanswered.
        """
        if len(self._pending) >= self.backlog_max:
            raise LinkFullError(
                f"{self.backlog_max} requests are unanswered: wait until some are answered"
            )
        self._corr += 1
        corr = self._corr
        request = Request(corr, command)
        # where none is held, all that is unanswered is in flight
        room = self.connected and not self._held_count and len(self._pending) < self._inflight_max
        pending = self._pending[corr] = _Pending(request, on_reply, False)
        if room:
            self._outgoing.append(request)
        else:
            self._hold(corr, pending)
        return corr

    def _hold(self, corr: int, pending: _Pending) -> None:
        """Keep it until there is room; the oldest goes first, whenever it was held."""
        if not pending.held:
            pending.held = True
            self._held_count += 1
            heappush(self._held, corr)

    def forget(self, corr: int) -> None:
        """Nobody waits for this answer any longer; it may still be performed."""
        pending = self._pending.get(corr)
        if pending is not None:
            pending.on_reply = _ignore

    def send(self, message: ToBroker) -> bool:
        """Say something that is no request. False, and dropped, while not connected."""
        if self.connected:
            self._outgoing.append(message)
        return self.connected

    @property
    def unanswered(self) -> int:
        return len(self._pending)

    @property
    def _inflight(self) -> int:
        return len(self._pending) - self._held_count

    # The connection ----------------------------------------------------------------------------

    @property
    def beat_ms(self) -> int:
        return self.welcome.beat_ms if self.welcome else DEFAULT_BEAT_MS

    def opened(self, hello: Hello, now: int) -> bytes:
        """A new connection: returns the frame to begin it with."""
        self.dismissed = False
        self._opened_at = self._heard_at = self._beat_at = now
        self._hello_again = self._resting = False
        self._asked_at = None
        self._order = FrameSequence()
        return self._order.stamp(encode([hello]))

    def lost(self, why: str) -> bool:
        """The connection is over; True if it had been welcomed."""
        was, self.connected = self.connected, False
        self.last_error = why
        self._outgoing.clear()
        return was

    def in_order(self, frame: bytes | memoryview) -> bool:
        """Whether to take this frame, called once for each that comes: not if it came before, nor
        if others are missing before it, which ends the connection (see `broken`)."""
        place = self._order.check(frame)
        if place == "gap":
            self._hello_again = True
            self.last_error = "frames of the broker are missing"
        return place == "next"

    def received(self, messages: Sequence[ToPeer], now: int) -> list[ToPeer]:
        """Take what came: answers go to those who asked, the rest is returned in its order.

        A `Welcome` is returned as well. Afterwards see `failure` and `broken`.
        """
        self._heard_at = now
        self._asked_at = None
        rest: list[ToPeer] = []
        for message in messages:
            kind = type(message)
            if kind is Response:
                self._answer(message)  # type: ignore[arg-type]
            elif kind is Beat:
                self._choked = False
            elif kind is Welcome:
                self.round_trip_ms = now - self._opened_at
                self._welcomed(message)  # type: ignore[arg-type]
                rest.append(message)
            elif kind is Refused:
                if not self._refused(message):  # type: ignore[arg-type]
                    rest.append(message)
            elif kind is Bye:
                self._hello_again = self.dismissed = True
                self.last_error = "the broker has stopped"
            else:
                rest.append(message)
        self._release_held()
        return rest

    def _answer(self, response: Answer) -> None:
        assert response.corr is not None
        self._choked = False
        pending = self._pending.pop(response.corr, None)
        # Unknown: the second answer to a request that was sent twice.
        if pending is not None:
            self._held_count -= pending.held
            pending.on_reply(response)

    def _welcomed(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self.connected = True
        self.connections += 1
        self.last_error = None
        self._inflight_max = welcome.inflight_max
        self._frames_max = min(self.limits.frame_bytes_max, welcome.frame_bytes_max)
        self._choked = False
        for pending in self._pending.values():
            pending.held = True
        self._held = list(self._pending)  # in order, so it is a heap
        self._held_count = len(self._held)
        self._outgoing.clear()

    def _refused(self, refused: Refused) -> bool:
        """Returns True if it needs nobody else's attention."""
        if refused.fatal:
            kinds = {409: NameInUseError, 426: ProtocolMismatchError}
            self.failure = kinds.get(refused.status, HelloRefusedError)(refused.error)
            return True
        if refused.status == 412:
            self._hello_again = True
            self.last_error = refused.error
            return True
        if refused.corr is None:
            self.last_error = refused.error
            return False
        pending = self._pending.get(refused.corr)
        if refused.status == 429 and pending is not None:
            # Not performed. It keeps its place before those that were asked later, and waits for
            # an answer (or a beat, should there be none to come): at once, it would be refused.
            self._hold(refused.corr, pending)
            self._choked = True
            return True
        self._answer(refused)
        return True

    def _release_held(self) -> None:
        if not self.connected or self._choked:
            return
        room = self._inflight_max - self._inflight
        while room > 0 and self._held:
            pending = self._pending.get(heappop(self._held))
            if pending is not None and pending.held:
                pending.held = False
                self._held_count -= 1
                self._outgoing.append(pending.request)
                room -= 1

    def rejoin(self) -> None:
        """Give this connection up for a new one."""
        self._hello_again = True

    def broken(self, now: int) -> bool:
        """Whether to give this connection up: silent for too long, or the broker knows it not."""
        silent_at = self._silent_at()
        return self._hello_again or (silent_at is not None and now >= silent_at)

    def _silent_at(self) -> int | None:
        """When silence means that the broker is gone; None: it has nothing to answer."""
        silent_at = self._heard_at + SILENT_BEATS * self.beat_ms
        if not self.connected:
            return silent_at
        if self._asked_at is None:
            return None
        # who has rested gives it as long as one that beats all the time and just missed its answer
        return max(silent_at, self._asked_at + (SILENT_BEATS - 1) * self.beat_ms)

    # Going out ---------------------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether something is to be sent, beside a beat."""
        return bool(self._outgoing)

    def take_frames(self, now: int) -> list[bytes]:
        """All that is to be sent now, in as few frames as can be; with a beat if it is time."""
        if self.connected and self._must_beat(now):
            self._beat_at = now
            if self._asked_at is None:
                self._asked_at = now
            self._outgoing.append(Beat())
        if not self._outgoing:
            return []
        messages, self._outgoing = self._outgoing, []
        frames, left_out = split(
            messages,
            soft=self._frames_max,
            hard=self._frames_max,
            messages_max=self.limits.messages_max,
        )
        for message, why in left_out:
            self._left_out(message, why)
        return [self._order.stamp(frame) for frame in frames]

    def _must_beat(self, now: int) -> bool:
        since_ms = now - self._beat_at
        self._resting = False
        if since_ms < self.beat_ms:
            return False
        if self._pending or self._asked_at is not None or self._engaged():
            return True
        self._resting = now < self._idle_beat_at
        return not self._resting

    @property
    def _idle_beat_at(self) -> int:
        idle_beat_ms = self.welcome.idle_beat_ms if self.welcome else DEFAULT_BEAT_MS
        moment_ms = self.beat_ms // MOMENTS_PER_BEAT or 1
        latest = self._beat_at + idle_beat_ms
        return latest - latest % moment_ms

    def _left_out(self, message: Message, why: str | None) -> None:
        if not isinstance(message, Request):
            return
        if why is None:
            text = f"the request is larger than a frame may be ({self._frames_max} bytes)"
            self._answer(Refused(413, text, corr=message.corr))
        else:
            self._answer(Refused(400, f"the request cannot be sent: {why}", corr=message.corr))

    def next_due(self) -> int:
        """When to beat, or to give up waiting."""
        beat_at = self._idle_beat_at if self._resting else self._beat_at + self.beat_ms
        silent_at = self._silent_at()
        if silent_at is None:
            return beat_at
        return min(beat_at, silent_at) if self.connected else silent_at

    def statistics(self) -> LinkStatistics:
        return LinkStatistics(
            self.connected, self.connections, len(self._pending), self._held_count, self.last_error
        )


def _ignore(_: Answer) -> None:
    return


def _always() -> bool:
    return True
