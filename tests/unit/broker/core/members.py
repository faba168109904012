"""Two nodes of which one holds a task, for the tests of membership."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Beat, Invoke

A, A2, B, C = b"peer-a", b"peer-a-again", b"peer-b", b"peer-c"


def given_members() -> Rig:
    """Node `a` holds task p; node `b` has room too."""
    rig = Rig()
    rig.join(C, "c", kind="client", group="callers")
    rig.join(A, "a", credit=2)
    rig.create(C, "p")
    rig.one(A, Invoke)
    rig.join(B, "b", credit=2)
    return rig


def beats(rig: Rig, ms: int, *peers: bytes) -> None:
    """Let time pass in which only these peers send heartbeats."""
    for _ in range(ms // 1_000):
        for peer in peers:
            rig.send(peer, Beat())
        rig.pass_time(1_000, step_ms=500)
