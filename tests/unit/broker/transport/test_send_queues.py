"""The queues in front of slow peers, and the bytes of large frames in their pipes."""

from __future__ import annotations

from understudy_broker.transport.send_queues import InFlightBytes, SendQueues, Sent


class Pipes:
    """The pipes of peers `a` and `b`, with room for a given number of frames each."""

    def __init__(self) -> None:
        self.room = {b"a": 0, b"b": 99}
        self.sent: list[tuple[bytes, bytes]] = []

    def send(self, peer: bytes, frame: bytes) -> Sent:
        if peer not in self.room:
            return "gone"
        if not self.room[peer]:
            return "full"
        self.room[peer] -= 1
        self.sent.append((peer, frame))
        return "sent"


class Tracker:
    """A frame on its way."""

    done = False


def test_frames_for_a_full_peer_are_queued_in_order_and_others_go_on() -> None:
    pipes = Pipes()
    queues = SendQueues(pipes.send, 100)
    assert queues.put(b"a", b"1") == "queued"
    assert queues.put(b"b", b"x") == "sent"
    pipes.room[b"a"] = 2
    # There is room by now, but this frame must not overtake the first one.
    assert queues.put(b"a", b"2") == "queued"
    assert queues.put(b"a", b"3") == "queued"
    assert queues.flush() == []
    assert pipes.sent == [(b"b", b"x"), (b"a", b"1"), (b"a", b"2")]
    assert queues.has_frames
    pipes.room[b"a"] = 1
    queues.flush()
    assert pipes.sent[-1] == (b"a", b"3")
    assert not queues.has_frames


def test_a_peer_past_its_bound_is_slow_and_forgotten() -> None:
    pipes = Pipes()
    queues = SendQueues(pipes.send, 10)
    assert queues.put(b"a", b"x" * 50) == "queued"  # A single frame may be larger.
    assert queues.put(b"a", b"y") == "slow"
    assert not queues.has_frames


def test_a_peer_that_is_gone_is_reported() -> None:
    pipes = Pipes()
    queues = SendQueues(pipes.send, 100)
    assert queues.put(b"z", b"1") == "gone"
    queues.put(b"a", b"1")
    queues.put(b"a", b"2")
    del pipes.room[b"a"]
    assert queues.flush() == [b"a"]
    assert not queues.has_frames


def test_a_peers_large_frames_are_bounded_by_bytes_until_they_have_left() -> None:
    in_flight = InFlightBytes(10)
    first, second = Tracker(), Tracker()
    assert not in_flight.full(b"a")
    in_flight.put(b"a", first, 8)
    assert not in_flight.full(b"a")
    in_flight.put(b"a", second, 8)
    assert in_flight.full(b"a")
    assert not in_flight.full(b"b")
    first.done = True
    assert not in_flight.full(b"a")
    in_flight.put(b"a", first, 8)
    in_flight.drop(b"a")
    assert not in_flight.full(b"a")
