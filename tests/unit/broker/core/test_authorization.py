"""Every command passes one rule before it is performed; a refusal is a reply with status 403."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.authorization import Identity
from understudy_broker.protocol.messages import AnyCommand, GroupsGet, PromiseWatch
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSearch, TaskCreate
from understudy_store.records import pid_of

A, C = b"peer-a", b"peer-c"


def only_nodes(identity: Identity, command: AnyCommand) -> str | None:
    """Refuse clients."""
    if identity.kind == "node":
        return None
    return f"{identity.name} of group {identity.group} may not use {type(command).__name__}"


@pytest.fixture
def rig() -> Rig:
    """A node and a client, of which the client may ask for nothing."""
    rig = Rig(authorize=only_nodes)
    rig.join(A, "a")
    rig.join(C, "c", kind="client", group="callers")
    return rig


@pytest.mark.parametrize(
    "command",
    [
        PromiseCreate("p", 2_000_000),
        PromiseGet("p"),
        PromiseSearch(prefix="p"),
        PromiseWatch(("p",)),
        TaskCreate(pid_of("c", "1"), 1_000, "t", 2_000_000),
        GroupsGet(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command_that_is_not_permitted_changes_nothing(rig: Rig, command: AnyCommand) -> None:
    reply = rig.reply(C, command)
    assert reply.status == 403
    assert reply.error == f"c of group callers may not use {type(command).__name__}"
    assert rig.engine.find(["p", "t"]) == []


def test_a_permitted_command_is_performed(rig: Rig) -> None:
    assert rig.create(A, "p", target=None).status == 201


def test_a_refused_request_counts_as_answered() -> None:
    rig = Rig(authorize=only_nodes, inflight_max=1)
    rig.join(C, "c", kind="client")
    assert [rig.reply(C, PromiseGet("p")).status for _ in range(3)] == [403] * 3


def test_by_default_everything_is_permitted() -> None:
    rig = Rig()
    rig.join(C, "c", kind="client")
    assert rig.reply(C, PromiseGet("p")).status == 404
