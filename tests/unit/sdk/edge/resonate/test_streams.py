"""Listeners: which one a message goes to, and what becomes of those that are not taken."""

from __future__ import annotations

from understudy.edge.resonate.messages import execute_event, unblock_event
from understudy.edge.resonate.streams import MESSAGES_MAX, Listener, Streams
from understudy_store.addresses import parse_target
from understudy_store.records import EMPTY, PromiseRecord


class Rig:
    """Streams, and what the brokers are told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.acknowledged: list[str] = []
        self.woken: list[Listener] = []
        self.streams = Streams(
            lambda group, name, identity: self.told.append(("attach", group, name)),
            lambda group, name: self.told.append(("detach", group, name)),
        )

    def open(self, group: str = "g", name: str = "m") -> Listener:
        listener = Listener(group, name, lambda: self.woken.append(listener))
        self.streams.open(listener)
        return listener

    def unblock(self, address: str, id_: str = "p") -> bool:
        promise = PromiseRecord(id_, "resolved", EMPTY, EMPTY, {}, 2, 1, 1)
        return self.streams.unblock(address, promise, lambda: self.acknowledged.append(id_))


def ids(listener: Listener) -> list[str]:
    return [message.id for message in listener.take()]


def test_a_name_is_attached_once() -> None:
    rig = Rig()
    first, second = rig.open(), rig.open()
    other = rig.open(name="n")
    assert rig.told == [("attach", "g", "m"), ("attach", "g", "n")]
    assert rig.streams.members() == [("g", "m", None), ("g", "n", None)]
    for listener in (first, second, other):
        rig.streams.close(listener)
    assert rig.told[2:] == [("detach", "g", "m"), ("detach", "g", "n")]
    assert (rig.streams.members(), rig.streams.count) == ([], 0)


def test_a_name_is_one_identitys_alone() -> None:
    rig = Rig()
    mine = Listener("g", "m", print, "team-a/ann")
    rig.streams.open(mine)
    assert rig.streams.members() == [("g", "m", "team-a/ann")]
    assert rig.streams.is_taken(Listener("g", "m", print, "team-a/bob"))
    assert rig.streams.is_taken(Listener("g", "m", print))
    assert not rig.streams.is_taken(Listener("g", "m", print, "team-a/ann"))
    assert not rig.streams.is_taken(Listener("g", "n", print, "team-a/bob"))
    rig.streams.close(mine)
    assert not rig.streams.is_taken(Listener("g", "m", print, "team-a/bob"))


def test_the_first_stream_of_a_name_gets_everything_until_it_ends() -> None:
    rig = Rig()
    first, second = rig.open(), rig.open()
    assert rig.streams.execute("g", "m", "a", 0)
    assert rig.streams.execute("g", "m", "b", 0)
    assert (rig.woken, second.take()) == ([first, first], [])
    rig.streams.close(first)
    assert ids(second) == ["a", "b"]


def test_a_message_for_nobody() -> None:
    rig = Rig()
    rig.open()
    assert not rig.streams.execute("g", "n", "a", 0)
    assert not rig.streams.execute("h", "m", "a", 0)
    assert not rig.unblock("poll://uni@g/n")
    assert not rig.unblock("poll://any@h")


def test_unblocks_find_their_listener() -> None:
    rig = Rig()
    m, n = rig.open(), rig.open(name="n")
    assert rig.unblock("poll://uni@g/n", "1")
    assert rig.unblock("poll://any@g/n", "2")
    assert ids(n) == ["1", "2"]
    assert rig.unblock("poll://any@g", "3")
    assert rig.unblock("poll://any@g/gone", "4")
    assert (ids(m), ids(n)) == (["3"], ["4"])
    assert rig.streams.offer(parse_target("g"), "5", 0)
    assert ids(m) == ["5"]


def test_what_waits_is_not_doubled() -> None:
    rig = Rig()
    m = rig.open()
    assert rig.unblock("poll://any@g")
    assert rig.unblock("poll://any@g")
    assert rig.streams.execute("g", "m", "p", 0)
    assert rig.streams.execute("g", "m", "p", 2)
    assert [(each.key, each.version) for each in m.take()] == [
        (("p", "unblock"), 0), (("p", "execute"), 2),
    ]  # fmt: skip
    assert rig.acknowledged == []
    assert rig.streams.execute("g", "m", "p", 2)
    assert ids(m) == ["p"]


def test_a_stream_has_room_for_so_many_messages() -> None:
    rig = Rig()
    m = rig.open()
    for n in range(MESSAGES_MAX):
        assert rig.streams.execute("g", "m", f"t{n}", 0)
    assert not rig.streams.execute("g", "m", "more", 0)
    assert rig.streams.execute("g", "m", "t0", 1)
    m.take()
    assert rig.streams.execute("g", "m", "more", 0)


def test_an_event_is_one_line_of_data() -> None:
    promise = PromiseRecord("a\nb", "resolved", EMPTY, EMPTY, {"t": "1\r\n2"}, 2, 1, 1)
    for event in (execute_event("a\nb", 3, "http://x"), unblock_event(promise)):
        assert event.startswith(b'data: {"kind":"')
        assert event.endswith(b"}\n\n")
        assert event.count(b"\n") == 2
        assert b"\r" not in event
