"""A broker with nothing to do makes idle steps; all input but heartbeats ends that."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import (
    Ack,
    Beat,
    Bye,
    Credit,
    Request,
    ToBroker,
)
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
)

A, B, C = b"peer-a", b"peer-b", b"peer-c"


def step_is_idle(rig: Rig) -> bool:
    """Make a step, and return whether it did nothing but look at the clock."""
    before = rig.machine.sweeps
    step = rig.step()
    idle = rig.machine.sweeps == before
    assert not (idle and (step.frames or step.events or step.batch))
    return idle


def idle_rig() -> Rig:
    """A broker with two peers that has nothing to do."""
    rig = Rig()
    rig.join(A, "a", credit=1)
    rig.join(C, "c", kind="client")
    rig.turn()
    assert step_is_idle(rig)
    return rig


def test_heartbeats_alone_leave_a_broker_idle_until_it_answers_them() -> None:
    rig = idle_rig()
    for number in range(20):
        rig.join(b"more-%d" % number, f"more-{number}")
    rig.turn()
    rig.send(A, Beat())
    rig.send(C, Beat())
    assert step_is_idle(rig)
    due_at = rig.step().due_at
    assert due_at is not None
    rig.now = due_at - 1
    assert step_is_idle(rig)
    rig.now = due_at
    assert not step_is_idle(rig)


@pytest.mark.parametrize(
    "said",
    [
        (Credit(5),),
        (Beat(), Credit(5)),
        (Ack("p", "poll://any@g"),),
        (hello("a"),),
        (Bye(),),
        (Request(1, PromiseGet("p")),),
    ],
    ids=lambda said: type(said[-1]).__name__,
)
def test_any_other_message_ends_that(said: tuple[ToBroker, ...]) -> None:
    rig = idle_rig()
    rig.send(A, *said)
    rig.send(C, Beat())
    assert not step_is_idle(rig)
    if rig.batch is not None:
        rig.commit()
    rig.turn()
    assert step_is_idle(rig)


def test_refusals_and_lost_connections_end_that() -> None:
    rig = idle_rig()
    rig.core.receive(A, b"nonsense", rig.now)
    assert not step_is_idle(rig)
    rig = idle_rig()
    rig.send(B, Beat())
    assert not step_is_idle(rig)
    rig = idle_rig()
    rig.core.connection_lost(A, rig.now)
    assert not step_is_idle(rig)


def test_a_broker_is_not_idle_before_its_batch_is_committed() -> None:
    rig = idle_rig()
    rig.ask(C, PromiseCreate("p", rig.now + 9_000))
    assert rig.step().batch is not None
    assert not step_is_idle(rig)
    rig.commit()
    rig.turn()
    assert step_is_idle(rig)


def test_a_broker_that_may_read_nothing_pauses_although_requests_wait() -> None:
    """Its shell looks at the store again after a while; a loop without pauses would burn a core."""
    rig = idle_rig()
    rig.core.held = True
    rig.ask(C, PromiseGet("absent"))
    due_at = rig.step().due_at
    assert due_at is None or due_at > rig.now
    rig.core.held = False
    assert step_is_idle(rig) is False
