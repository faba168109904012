"""What leaves a broker at rest, and what ends that."""

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


def at_rest() -> Rig:
    """A broker with two peers that has nothing to do."""
    rig = Rig()
    rig.join(A, "a", credit=1)
    rig.join(C, "c", kind="client")
    rig.turn()
    assert rig.core.calm(rig.now)
    return rig


def test_beats_alone_leave_a_broker_at_rest_until_it_answers_them() -> None:
    rig = at_rest()
    for number in range(20):
        rig.join(b"more-%d" % number, f"more-{number}")
    rig.turn()
    rig.send(A, Beat())
    rig.send(C, Beat())
    assert rig.core.calm(rig.now)
    due = rig.core.next_due(rig.now)
    assert due is not None
    assert rig.core.calm(due - 1)
    assert not rig.core.calm(due)


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
def test_anything_else_ends_the_rest(said: tuple[ToBroker, ...]) -> None:
    rig = at_rest()
    rig.send(A, *said)
    rig.send(C, Beat())
    assert not rig.core.calm(rig.now)
    rig.turn()
    assert rig.core.calm(rig.now)


def test_what_is_refused_and_who_is_lost_end_the_rest() -> None:
    rig = at_rest()
    rig.core.receive(A, b"nonsense", rig.now)
    assert not rig.core.calm(rig.now)
    rig = at_rest()
    rig.send(B, Beat())
    assert not rig.core.calm(rig.now)
    rig = at_rest()
    rig.core.connection_lost(A, rig.now)
    assert not rig.core.calm(rig.now)


def test_there_is_no_rest_before_a_batch_is_taken() -> None:
    rig = at_rest()
    rig.ask(C, PromiseCreate("p", rig.now + 9_000))
    rig.apply()
    assert not rig.core.calm(rig.now)
    batch = rig.core.take_batch()
    assert batch is not None
    assert not rig.core.calm(rig.now)
    rig.commit(batch)
    rig.turn()
    assert rig.core.calm(rig.now)
