"""A broker survives hostile frames and serves its guests; a broker that does not is detected."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tests.fuzz import run
from tests.fuzz.hostile import OVERSIZED_SHARE, Hostile
from tests.fuzz.run import BrokerEndedError, besiege, report
from understudy_broker.protocol.frames import FrameError, FrameLimits, decode_to_broker

FRAMES = 4_000


def test_a_broker_survives_and_serves_its_guests() -> None:
    """Send fewer frames than `make fuzz`, which sends a million."""
    done = besiege(FRAMES, 1)
    assert done.faults == [], report(done)
    assert done.frames == FRAMES
    assert done.counted["malformed"] > FRAMES / 3
    assert done.counted["requests"] > 100
    assert done.counted["frames_missing"] > 0
    assert done.counted["peers"] == 2
    assert done.sent["raw connections"] > 0
    assert len(done.latencies_ms) > 5


def test_a_broker_that_crashes_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not expect malformed frames."""
    script = (
        "import understudy_broker.core.receiver as receiver\n"
        "def salvage(frame): raise ValueError('malformed')\n"
        "receiver.salvage = salvage\n"
    )
    monkeypatch.setattr(run, "BROKER", script + run.BROKER)
    with pytest.raises(BrokerEndedError, match="malformed"):
        besiege(FRAMES, 1)


def test_frames_of_every_kind_and_every_outcome() -> None:
    kinds: Counter[str] = Counter()
    outcomes: Counter[int] = Counter()
    hostile = Hostile(Random(3), "h", ("guest",))
    for _ in range(4000):
        kind, parts = hostile.frame()
        kinds[kind] += 1
        try:
            decode_to_broker(parts[-1], FrameLimits())
            outcomes[200] += 1
        except FrameError as error:
            outcomes[error.status] += 1
    assert len(kinds) >= 10
    assert {200, 400, 413, 426} <= {*outcomes}
    assert 0 < OVERSIZED_SHARE < 0.001


def test_a_seed_gives_the_same_frames_again() -> None:
    """Compare frames without their deadlines, which are near the present."""
    first, again = (Hostile(Random(5), "h", ("guest",)) for _ in range(2))
    for _ in range(300):
        (one, one_parts), (other, other_parts) = first.frame(), again.frame()
        assert one == other
        assert list(map(len, one_parts)) == list(map(len, other_parts))
