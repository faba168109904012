"""The small parts of the shell: the clock, and the queues in front of slow peers."""

from __future__ import annotations

from understudy_broker.clock import Clock, PeerClock
from understudy_broker.transport.send_queues import SendQueues, Sent

MS = 1_000_000


def test_the_clock_follows_elapsed_time_and_not_the_wall() -> None:
    wall, elapsed = [5_000 * MS], [70 * MS]
    clock = Clock(wall_ns=lambda: wall[0], elapsed_ns=lambda: elapsed[0])
    assert clock() == 5_000
    elapsed[0] += 30 * MS
    wall[0] -= 1_000 * MS
    assert clock() == 5_030


def test_the_clock_starts_no_earlier_than_the_store_and_never_goes_back() -> None:
    elapsed = [0]
    clock = Clock(9_000, wall_ns=lambda: 5_000 * MS, elapsed_ns=lambda: elapsed[0])
    assert clock() == 9_000
    elapsed[0] = 2 * MS
    assert clock() == 9_002
    elapsed[0] = 1 * MS
    assert clock() == 9_002


def test_a_peer_counts_by_the_brokers_clock_whatever_its_own_wall_shows() -> None:
    wall, elapsed = [5_000 * MS], [70 * MS]
    clock = PeerClock(wall_ns=lambda: wall[0], elapsed_ns=lambda: elapsed[0])
    assert clock() == 5_000
    clock.told(90_000, round_trip_ms=4)
    assert clock() == 90_002
    wall[0] -= 3_600_000 * MS
    elapsed[0] += 30 * MS
    assert clock() == 90_032
    clock.told(80_000, round_trip_ms=0)
    assert clock() == 80_000, "another broker may have another time"


class InFlightBytes:
    """Peers that take as many frames as they are told."""

    def __init__(self) -> None:
        self.room = {b"a": 0, b"b": 99}
        self.taken: list[tuple[bytes, bytes]] = []

    def send(self, peer: bytes, frame: bytes) -> Sent:
        if peer not in self.room:
            return "gone"
        if not self.room[peer]:
            return "full"
        self.room[peer] -= 1
        self.taken.append((peer, frame))
        return "sent"


def test_frames_wait_for_a_full_peer_in_order_and_others_go_on() -> None:
    pipes = InFlightBytes()
    outgoing = SendQueues(pipes.send, 100)
    assert outgoing.put(b"a", b"1") == "queued"
    assert outgoing.put(b"b", b"x") == "sent"
    pipes.room[b"a"] = 2
    # Room by now: but it goes behind the one that waits.
    assert outgoing.put(b"a", b"2") == "queued"
    assert outgoing.put(b"a", b"3") == "queued"
    assert outgoing.flush() == []
    assert pipes.taken == [(b"b", b"x"), (b"a", b"1"), (b"a", b"2")]
    assert outgoing
    pipes.room[b"a"] = 1
    outgoing.flush()
    assert pipes.taken[-1] == (b"a", b"3")
    assert not outgoing


def test_a_peer_past_its_bound_is_slow_and_forgotten() -> None:
    pipes = InFlightBytes()
    outgoing = SendQueues(pipes.send, 10)
    assert outgoing.put(b"a", b"x" * 50) == "queued"  # alone it may be larger
    assert outgoing.put(b"a", b"y") == "slow"
    assert not outgoing


def test_a_peer_that_is_gone_is_reported() -> None:
    pipes = InFlightBytes()
    outgoing = SendQueues(pipes.send, 100)
    assert outgoing.put(b"z", b"1") == "gone"
    outgoing.put(b"a", b"1")
    outgoing.put(b"a", b"2")
    del pipes.room[b"a"]
    assert outgoing.flush() == [b"a"]
    assert not outgoing
