"""Crash counts as the broker sees them, and parking: poison tasks, and tasks beside them."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Beat, Bye, Credit, Invoke, Resume
from understudy_store.commands import (
    PromiseCreate,
    PromiseSettle,
    TaskContinue,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
)
from understudy_store.records import TAG_SCOPE, TaskRecord, pid_of

C = b"client"


class Nodes:
    """Nodes n0, n1 and so on that crash and start again under their name, as in a pool."""

    def __init__(self, rig: Rig, count: int, credit: int = 100) -> None:
        self.rig, self.credit = rig, credit
        self.boots = dict.fromkeys(range(count), 0)
        #: node to (task, version) that it has been given
        self.held: dict[int, dict[str, int]] = {}
        for number in self.boots:
            self.start(number)

    def peer(self, number: int) -> bytes:
        return f"n{number}/{self.boots[number]}".encode()

    def start(self, number: int) -> None:
        self.boots[number] += 1
        self.held[number] = {}
        self.rig.join(
            self.peer(number), f"n{number}", credit=self.credit, boot=str(self.boots[number])
        )

    def take(self) -> None:
        for number, held in self.held.items():
            for invoke in self.rig.take(self.peer(number), Invoke):
                held[invoke.promise.id] = invoke.version
            for resume in self.rig.take(self.peer(number), Resume):
                held[resume.promise.id] = resume.version

    def kill(self, number: int) -> None:
        self.rig.core.connection_lost(self.peer(number), self.rig.now)
        self.rig.pass_time(100, step_ms=20)
        self.start(number)
        self.take()

    def cut_all(self) -> None:
        """Their connections break, and they are given up; they live, but had nothing yet."""
        for number in self.held:
            self.rig.core.connection_lost(self.peer(number), self.rig.now)
            self.held[number] = {}
        self.rig.pass_time(100, step_ms=20)

    def return_all(self) -> None:
        for number, boot in self.boots.items():
            self.rig.join(self.peer(number), f"n{number}", credit=self.credit, boot=str(boot))
        self.take()

    def finish(self, number: int, task: str) -> None:
        version = self.held[number].pop(task)
        assert self.rig.reply(self.peer(number), TaskFulfill(task, version, "resolved")).ok
        self.take()

    def holder(self, task: str) -> int | None:
        found = [number for number, held in self.held.items() if task in held]
        assert len(found) <= 1, (task, found)
        return found[0] if found else None


@pytest.fixture
def rig() -> Rig:
    return started()


def started(deaths_max: int | None = None) -> Rig:
    rig = Rig() if deaths_max is None else Rig(deaths_max=deaths_max)
    rig.join(C, "c", kind="client", group="callers")
    return rig


def task(rig: Rig, id_: str) -> TaskRecord:
    found = rig.reply(C, TaskGet(id_)).task
    assert found is not None
    return found


def deaths(rig: Rig, id_: str) -> int:
    return task(rig, id_).deaths


def test_a_killer_is_parked_and_may_be_continued(rig: Rig) -> None:
    nodes = Nodes(rig, 2)
    rig.create(C, "killer")
    nodes.take()
    for done in range(1, 5):
        holder = nodes.holder("killer")
        assert holder is not None, f"parked after {done - 1}"
        nodes.kill(holder)
    assert nodes.holder("killer") is None
    found = task(rig, "killer")
    assert (found.state, found.deaths) == ("halted", 4)
    assert found.cause is not None
    assert found.cause.startswith("its holder vanished 4 times in a row; the last: node n")
    assert "(process 1 on host): connection closed, 1970-01-01 00:16:4" in found.cause
    events = [e for e in rig.events if e.text == "parked"]
    assert [(e.level, e.fields["id"]) for e in events] == [("warning", "killer")]
    assert rig.core.metrics.parked == 1

    assert rig.reply(C, TaskContinue("killer")).ok
    nodes.take()
    holder = nodes.holder("killer")
    assert holder is not None
    assert task(rig, "killer").cause is None
    nodes.finish(holder, "killer")


def test_a_holder_parks_a_task_that_it_cannot_go_on_with(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "odd")
    nodes.take()
    assert rig.reply(nodes.peer(0), TaskHalt("odd", "no such function", 1)).ok
    found = task(rig, "odd")
    assert (found.state, found.deaths, found.cause) == ("halted", 0, "no such function")
    events = [e for e in rig.events if e.text == "parked"]
    assert [(e.fields["id"], e.fields["cause"]) for e in events] == [("odd", "no such function")]
    assert rig.core.metrics.parked == 1
    assert rig.reply(nodes.peer(0), TaskHalt("odd", "again", 1)).status == 409

    assert rig.reply(C, TaskContinue("odd")).ok
    nodes.take()
    assert nodes.held[0] == {"odd": 2}
    assert rig.reply(nodes.peer(0), TaskHalt("odd", "stale", 1)).status == 409
    nodes.finish(0, "odd")


def test_a_person_who_halts_a_task_does_not_park_it(rig: Rig) -> None:
    rig.create(C, "one")
    assert rig.reply(C, TaskHalt("one", "for the night")).ok
    assert rig.core.metrics.parked == 0


@pytest.mark.parametrize(("limit", "parked"), [(1, 1), (2, 2), (0, None)])
def test_the_limit_is_set(limit: int, parked: int | None) -> None:
    rig = started(deaths_max=limit)
    nodes = Nodes(rig, 1)
    rig.create(C, "killer")
    nodes.take()
    for count in range(1, 20):
        nodes.kill(0)
        if nodes.holder("killer") is None:
            assert count == parked
            break
    else:
        assert parked is None
    assert (task(rig, "killer").state == "halted") == (parked is not None)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tasks_beside_a_poison_task_are_not_parked(rig: Rig, count: int) -> None:
    """Fill its node with other tasks, none of which ends before the crash."""
    nodes = Nodes(rig, count)
    innocents = [f"i{number}" for number in range(30)]
    for number, id_ in enumerate(innocents):
        rig.create(C, id_)
        if number == 12:
            rig.create(C, "killer")
    nodes.take()
    for _ in range(200):
        holder = nodes.holder("killer")
        if holder is not None:
            nodes.kill(holder)
        elif task(rig, "killer").state == "halted":
            break
        else:  # it waits for a place: what others have is done meanwhile
            for number, held in list(nodes.held.items()):
                for id_ in list(held):
                    nodes.finish(number, id_)
    found = [task(rig, id_) for id_ in innocents]
    assert max(each.deaths for each in found) <= 2
    assert "halted" not in [each.state for each in found]
    assert deaths(rig, "killer") == 4
    for _ in range(60):
        for number, held in list(nodes.held.items()):
            for id_ in list(held):
                nodes.finish(number, id_)
    assert {task(rig, id_).state for id_ in innocents} == {"fulfilled"}


def test_a_task_that_makes_progress_is_never_parked(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "long")
    nodes.take()
    for step in range(12):
        create = PromiseCreate(f"long.{step}", rig.now + 50_000, tags={TAG_SCOPE: "local"})
        fence = TaskFence("long", nodes.held[0]["long"], (create,))
        assert rig.reply(nodes.peer(0), fence).replies == [None]
        nodes.kill(0)
        assert deaths(rig, "long") == 1


def test_a_process_that_starts_again_at_once_has_died_too(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "killer")
    rig.core.connection_lost(nodes.peer(0), rig.now)
    nodes.start(0)
    assert deaths(rig, "killer") == 1


def test_silence_is_a_death(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "p")
    for _ in range(11):
        rig.send(C, Beat())
        rig.pass_time(1_000, step_ms=500)
    found = task(rig, "p")
    assert found.deaths == 1
    assert "node n0 (process 1 on host): silent, its lease lapsed" in (found.cause or "")
    # it was only stopped: it may stop for as long again
    rig.join(nodes.peer(0), "n0", boot="1", claims=(("p", 1),))
    assert deaths(rig, "p") == 1


def test_leaving_in_order_and_another_name_are_no_deaths(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "p")
    rig.send(nodes.peer(0), Bye())
    rig.turn()
    nodes.start(0)
    assert deaths(rig, "p") == 0
    rig.join(nodes.peer(0), "other")
    assert deaths(rig, "p") == 0


def test_a_node_that_was_cut_off_and_comes_back_has_not_crashed(rig: Rig) -> None:
    nodes = Nodes(rig, 2)
    rig.create(C, "p")
    nodes.take()
    first = nodes.holder("p")
    assert first is not None
    old = nodes.peer(first)
    rig.core.connection_lost(old, rig.now)
    rig.pass_time(100, step_ms=20)
    assert deaths(rig, "p") == 1
    welcome = rig.join(old + b"again", f"n{first}", boot="1", claims=(("p", 1),))
    assert welcome.lost == ("p",)
    assert deaths(rig, "p") == 0


def test_a_task_that_had_not_reached_its_node_has_not_crashed_it(rig: Rig) -> None:
    """Cut off before it was told of its task, so that it has nothing to claim; again and again."""
    nodes = Nodes(rig, 2)
    rig.create(C, "p")
    for _ in range(3 * rig.core.config.deaths_max):
        nodes.take()
        assert nodes.holder("p") is not None
        nodes.cut_all()
        assert deaths(rig, "p") == 1
        nodes.return_all()
        assert deaths(rig, "p") == 0
    nodes.finish(nodes.holder("p") or 0, "p")


def test_a_restart_of_the_broker_is_no_crash_and_suspects_stay_apart(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "s")
    nodes.take()
    nodes.kill(0)
    nodes.kill(0)
    assert deaths(rig, "s") == 2
    again = Rig(engine=rig.engine, start=rig.now)
    again.join(C, "c", kind="client", group="callers")
    again.join(b"x", "n0", boot="3", credit=9, claims=(("s", 3),))
    again.core.connection_lost(b"x", again.now)
    again.join(b"y", "n0", boot="3", credit=9, claims=(("s", 3),))
    assert deaths(again, "s") == 2
    assert list(again.core.dispatcher.suspects) == [pid_of("n0", "3")]
    # nobody comes back from a second restart: still no death
    third = Rig(engine=again.engine, start=again.now)
    third.join(C, "c", kind="client", group="callers")
    third.pass_time(6_000, step_ms=500)
    assert task(third, "s").state == "pending"
    assert deaths(third, "s") == 2


def test_a_settled_or_canceled_suspect_gives_its_place_to_the_next(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    for id_ in ("s0", "s1", "s2"):
        rig.create(C, id_)
    nodes.take()
    nodes.kill(0)
    nodes.kill(0)
    assert list(nodes.held[0]) == ["s0"]
    rig.reply(C, PromiseSettle("s1", "resolved"))
    nodes.finish(0, "s0")
    assert list(nodes.held[0]) == ["s2"]


def suspects(rig: Rig, nodes: Nodes, *ids: str) -> None:
    """Tasks that have been beside two deaths of node 0; the first is given to it again."""
    for id_ in ids:
        rig.create(C, id_)
    nodes.take()
    nodes.kill(0)
    nodes.kill(0)
    assert list(nodes.held[0]) == [ids[0]]


def test_a_suspect_that_gets_somewhere_is_none(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    suspects(rig, nodes, "s0", "s1")
    create = PromiseCreate("s0.1", rig.now + 50_000, tags={TAG_SCOPE: "local"})
    fence = TaskFence("s0", nodes.held[0]["s0"], (create,))
    assert rig.reply(nodes.peer(0), fence).replies == [None]
    nodes.take()
    assert list(nodes.held[0]) == ["s0", "s1"]


def test_a_suspect_that_is_held_elsewhere_makes_room_for_the_next(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    suspects(rig, nodes, "s0", "s1")
    old, version = nodes.peer(0), nodes.held[0]["s0"]
    rig.join(b"other", "other", credit=1)
    rig.core.connection_lost(old, rig.now)
    rig.pass_time(100, step_ms=20)
    assert rig.one(b"other", Resume).promise.id == "s1"
    rig.reply(b"other", TaskFulfill("s1", 3, "resolved"))
    rig.send(b"other", Credit(2))
    rig.turn()
    assert rig.one(b"other", Resume).promise.id == "s0"
    # the first node, the same process, is back: what it had is the other's
    rig.join(b"back", "n0", boot=str(nodes.boots[0]), credit=9, claims=(("s0", version),))
    assert deaths(rig, "s0") == 2
    assert list(rig.core.dispatcher.suspects) == [pid_of("other", "1")]


def test_how_one_went_is_forgotten_when_it_is_back(rig: Rig) -> None:
    nodes = Nodes(rig, 1)
    rig.create(C, "p")
    rig.core.connection_lost(nodes.peer(0), rig.now)
    rig.join(b"back", "n0", boot="1", claims=(("p", 1),))
    rig.now += 8_000  # the broker is deaf, and then forgives
    rig.turn()
    rig.core.connection_lost(b"back", rig.now)
    rig.pass_time(6_000, step_ms=500)
    assert task(rig, "p").state == "pending"
    assert deaths(rig, "p") == 0
