"""What a process tells its brokers of the progress of its functions: each of its own tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from understudy.client.node_environment import NodeEnvironment
from understudy.client.peer import Peer
from understudy.registry import Registry
from understudy.values import Codec
from understudy_broker.protocol.messages import Progress, ProgressEntry, Welcome

X, Y = ProgressEntry("x", 1, "x", 0.5, "half"), ProgressEntry("y", 1, "y", None, "soon")


class Link:
    """A link to a broker that has some of the promises."""

    def __init__(self, ids: str, *, takes_progress: bool = True, connected: bool = True) -> None:
        self.ids = ids
        self.connected = connected
        self.round_trip_ms = 0
        self.welcome = Welcome(2, ids, "n#1", 1, 1, 1, 1, 1, takes_progress=takes_progress)
        self.sent: list[object] = []

    def send(self, message: object) -> None:
        self.sent.append(message)


def tell(*links: Link, sealed: Any = None) -> None:
    """Let a process that has met these brokers tell of two tasks."""
    env = NodeEnvironment(Registry(), Codec(), group="g", timeout_s=1)
    availability: Any = SimpleNamespace(on_connected=lambda: None, add=lambda *_: None)
    log: Any = None
    requests: Any = SimpleNamespace(renew_watches=lambda _: None)
    peer = Peer(
        env, requests, availability, log, lambda: True, name="n", boot="1", os_pid=1, sealed=sealed
    )
    router: Any = SimpleNamespace(owns=lambda link, id_: id_ in link.ids, amend=lambda _: None)
    core = SimpleNamespace(
        state=SimpleNamespace(),
        progress=SimpleNamespace(note=lambda _: None),
        claims=lambda _: (),
        new_session=lambda _: 0,
        connected=lambda *_: None,
    )
    node: Any = SimpleNamespace(core=core, config=SimpleNamespace(concurrency=1))
    peer.open(router, node)
    for each in links:
        link: Any = each
        peer.hello(link)
        peer.on_connected(link, each.welcome)
    node.on_progress([X, Y])


def test_each_broker_is_told_of_its_own_tasks() -> None:
    left, right, other = Link("x"), Link("y"), Link("z")
    tell(left, right, other)
    assert (left.sent, right.sent, other.sent) == ([Progress((X,))], [Progress((Y,))], [])


def test_a_broker_of_an_earlier_release_and_one_that_is_away_are_told_nothing() -> None:
    old, away = Link("x", takes_progress=False), Link("y", connected=False)
    tell(old, away)
    assert (old.sent, away.sent) == ([], [])


def test_with_seal_keys_no_text_leaves_the_process() -> None:
    link = Link("xy")
    tell(link, sealed=object())
    assert link.sent == [Progress((ProgressEntry("x", 1, "x", 0.5), ProgressEntry("y", 1, "y")))]
