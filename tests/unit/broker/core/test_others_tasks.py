"""What peers may not do with the tasks, the sessions and the messages of others."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import Ack, Unblock
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterListener,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
    TaskSuspend,
)

A, B, C = b"peer-a", b"peer-b", b"peer-c"
C2, EDGE = b"peer-c2", b"peer-edge"


@pytest.mark.parametrize(
    "command",
    [
        TaskFulfill("q", 1, "resolved"),
        TaskFence("q", 1, (PromiseCreate("q.1", 2_000_000_000_000),)),
        TaskSuspend("q", 1, ("p",)),
        TaskRelease("q", 1),
        TaskHalt("q", version=1),
    ],
    ids=lambda command: type(command).__name__,
)
def test_only_the_holder_writes_to_its_task(
    rig: Rig, command: TaskFulfill | TaskFence | TaskSuspend | TaskRelease | TaskHalt
) -> None:
    rig.join(B, "b", credit=0)
    rig.join(EDGE, "edge", kind="edge", group="edges")
    rig.create(C, "p")
    rig.create(C, "q")
    for peer in (B, C, EDGE):
        reply = rig.reply(peer, command)
        assert reply.status == 403
        assert "another session" in (reply.error or "")
    later = msgspec.structs.replace(command, version=2)
    assert rig.reply(B, later).status == 409
    assert rig.reply(A, command).ok


def test_a_pid_does_not_tell_the_boot(rig: Rig) -> None:
    """Who knows the boot may take the session over."""
    welcome = rig.join(B, "b", boot="secret-of-b")
    assert "secret" not in welcome.pid
    assert rig.join(B, "b", boot="secret-of-b").pid == welcome.pid
    rig.send(C2, hello("b", boot="another"))
    rig.step()
    assert rig.refused(C2) == 409


def test_a_stranger_acknowledges_nothing(rig: Rig) -> None:
    """Else the listener would be told nothing, ever."""
    rig.join(B, "b", group="others")
    rig.join(C2, "c2", kind="client", group="callers")
    for id_, address in (("p", "poll://any@callers/c"), ("q", "poll://uni@callers/c")):
        rig.create(C, id_)
        assert rig.reply(C, PromiseRegisterListener(id_, address)).ok
        rig.reply(A, TaskFulfill(id_, 1, "resolved"))
        rig.send(B, Ack(id_, address))
        rig.send(A, Ack(id_, address))
    rig.send(C2, Ack("q", "poll://uni@callers/c"))
    rig.turn()
    rig.take(C, Unblock)
    rig.pass_time(6_000, step_ms=1_000)
    assert {each.promise.id for each in rig.take(C, Unblock)} == {"p", "q"}
    rig.send(C2, Ack("p", "poll://any@callers/c"))
    rig.send(C, Ack("q", "poll://uni@callers/c"))
    rig.turn()
    rig.take(C, Unblock)
    rig.pass_time(6_000, step_ms=1_000)
    assert rig.take(C, Unblock) == []
