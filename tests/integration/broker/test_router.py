"""A router over real sockets, with brokers of which a test says what they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import zmq

from tests.integration.broker.peers import DEADLINE_S
from tests.integration.broker.sockets import receive_batch
from tests.unit.broker.core.rig import hello
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router, open_router
from understudy_broker.link.session import Answer
from understudy_broker.protocol.frames import FrameLimits, decode_to_broker, encode
from understudy_broker.protocol.messages import (
    NOBODY,
    PROTOCOL_VERSION,
    Bye,
    Hello,
    Request,
    Response,
    SlotMap,
    Slots,
    ToPeer,
    Welcome,
)
from understudy_broker.transport.socket import TrioSocket
from understudy_store.commands import PromiseGet, Reply

MOVED = Reply(421, "the slot is another broker's")


class ScriptedBroker:
    """A broker that welcomes every peer, and answers every request with `reply`."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], name: str) -> None:
        router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        router.set(zmq.LINGER, 0)
        self.name = name
        self.url = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
        self.socket = TrioSocket(router)
        self.slots: SlotMap | None = None
        self.deployment = "d"
        self.reply: Reply | None = Reply(200)
        self.peers: list[bytes] = []
        #: ids that were asked for, and names of peers that have left
        self.asked: list[str] = []
        self.left = 0

    async def run(self) -> None:
        with self.socket:
            while True:
                for peer, frame in await receive_batch(self.socket):
                    self._take(peer, frame)

    def _take(self, peer: bytes, frame: bytes) -> None:
        for message in decode_to_broker(frame, FrameLimits()):
            if isinstance(message, Hello):
                self.peers.append(peer)
                welcome = Welcome(
                    PROTOCOL_VERSION, self.name, "a#1", 10_000, 2_500, 100, 1 << 20, 1 << 19,
                    deployment=self.deployment, slots=self.slots,
                )  # fmt: skip
                self.send(welcome)
            elif isinstance(message, Request):
                assert isinstance(message.command, PromiseGet)
                self.asked.append(message.command.id)
                if self.reply is not None:
                    self.send(Response(message.corr, self.reply))
            elif isinstance(message, Bye):
                self.left += 1
                self.send(Bye())

    def send(self, *messages: ToPeer) -> None:
        self.socket.send_nowait([self.peers[-1], encode(list(messages))])


class Peer:
    """The peer of the router, which counts what it is told."""

    def __init__(self) -> None:
        self.welcomed: list[str] = []
        self.links: list[Link] = []
        self.router: Router | None = None
        #: brokers whose requests went to them when they welcomed this peer, as far as `p` tells
        self.owned: list[str] = []
        self.maps: list[int] = []

    def hello(self, _: Link) -> Hello:
        return hello("a")

    def on_messages(self, _: Link, messages: list[ToPeer]) -> None:
        raise AssertionError(messages)

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        self.welcomed.append(welcome.broker)
        if self.router is not None and self.router.owns(link, "p"):
            self.owned.append(welcome.broker)

    def on_disconnected(self, link: Link, why: str) -> None:
        pass

    def on_link(self, link: Link) -> None:
        self.links.append(link)

    def on_gone(self, link: Link) -> None:
        self.links.remove(link)

    def on_map(self, link: Link, slots: SlotMap) -> None:
        self.maps.append(slots.version)

    def minds_moves(self) -> bool:
        return True

    def is_busy(self) -> bool:
        return True

    def leaves(self) -> bool:
        return True


class Rig:
    """A router, its peer, and two brokers."""

    def __init__(self, peer: Peer, router: Router, a: ScriptedBroker, b: ScriptedBroker) -> None:
        self.peer, self.router, self.a, self.b = peer, router, a, b
        self.answers: list[Answer] = []

    def map_of(self, version: int, *names: str) -> SlotMap:
        """Return a map in which the first of the names owns everything."""
        urls = {"a": self.a.url, "b": self.b.url}
        return SlotMap(version, tuple((name, urls[name]) for name in names), ((255, 0),))

    def request(self, id_: str = "p") -> None:
        self.router.request(PromiseGet(id_), self.answers.append)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    peer = Peer()
    with zmq.Context() as context, trio.fail_after(DEADLINE_S):
        a, b = ScriptedBroker(context, "a"), ScriptedBroker(context, "b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.run)
            nursery.start_soon(b.run)
            async with open_router(a.url, peer, context=context) as router:
                peer.router = router
                yield Rig(peer, router, a, b)
            nursery.cancel_scope.cancel()


async def until(condition: object) -> None:
    assert callable(condition)
    while not condition():
        await trio.sleep(0.005)


async def test_without_a_map_there_is_one_link() -> None:
    async with rig() as r:
        r.request()
        await until(lambda: r.answers)
        assert (r.peer.welcomed, len(r.router.links)) == (["a"], 1)


async def test_a_welcome_with_a_map_opens_links_to_the_others() -> None:
    async with rig() as r:
        r.a.slots = r.b.slots = r.map_of(1, "b", "a")
        r.request()
        await until(lambda: r.answers)
        assert (r.a.asked, r.b.asked) == ([], ["p"])
        assert sorted(r.peer.welcomed) == ["a", "b"]


async def test_a_newer_map_ends_the_link_to_a_broker_that_is_gone() -> None:
    async with rig() as r:
        r.a.slots = r.b.slots = r.map_of(1, "b", "a")
        r.b.reply = None
        r.request()
        await until(lambda: r.b.asked)
        assert len(r.peer.links) == 2
        r.a.send(Slots(r.map_of(2, "a")))
        await until(lambda: r.answers)
        assert r.a.asked == ["p"]
        await until(lambda: len(r.peer.links) == 1)
        await until(lambda: r.b.left)
        assert len(r.router.links) == 1


async def test_a_map_of_no_brokers_ends_no_link() -> None:
    """All of them leave; whoever comes back is found where they were."""
    async with rig() as r:
        r.a.slots = r.map_of(1, "a")
        await until(lambda: r.peer.welcomed)
        r.a.send(Slots(SlotMap(2, (), ())))
        await until(lambda: r.peer.maps == [2])
        r.request()
        r.a.send(Slots(r.map_of(3, "a")))
        await until(lambda: r.answers)
        assert len(r.router.links) == 1


async def test_a_broker_that_came_and_went_meanwhile_gets_no_link() -> None:
    """A process that was stopped reads of both at once."""
    async with rig() as r:
        r.a.slots = r.map_of(1, "a")
        await until(lambda: r.peer.welcomed)
        r.a.send(Slots(r.map_of(2, "a", "b")), Slots(r.map_of(3, "a")))
        await until(lambda: r.peer.maps == [2, 3])
        r.request()
        await until(lambda: r.answers)
        await until(lambda: len(r.peer.links) == 1)
        assert len(r.router.links) == 1


async def test_a_slot_that_has_moved_is_asked_for_where_the_newer_map_says() -> None:
    async with rig() as r:
        r.a.slots = r.map_of(1, "a", "b")
        r.b.slots = r.map_of(2, "b", "a")
        r.a.reply = MOVED
        r.request()
        await until(lambda: r.answers)
        assert r.b.asked == ["p"]
        assert [each.reply.status for each in r.answers if isinstance(each, Response)] == [200]


async def test_a_slot_that_nobody_owns_is_asked_for_again() -> None:
    async with rig() as r:
        # The map says that it is here, and the broker does not know that yet.
        r.a.slots = r.map_of(1, "a", "b")
        r.b.slots = r.a.slots
        r.a.reply = MOVED
        r.request()
        await until(lambda: len(r.a.asked) >= 2)
        r.a.reply = Reply(200)
        await until(lambda: r.answers)


async def test_a_broker_is_joined_anew_once_the_slots_that_came_are_routed_to_it() -> None:
    """It says that it has them in a map of the version of an earlier one, which says otherwise."""
    async with rig() as r:
        r.a.slots = r.b.slots = r.map_of(1, "a", "b")
        await until(lambda: sorted(r.peer.welcomed) == ["a", "b"])
        of_nobody = SlotMap(2, r.a.slots.brokers, ((255, NOBODY),))
        r.a.send(Slots(of_nobody))
        await until(lambda: r.peer.maps == [2])
        r.b.slots = r.map_of(2, "b", "a")
        r.b.send(Slots(r.b.slots))
        await until(lambda: r.peer.maps == [2, 2])
        # It is answered over the connection that there is after that.
        answers: list[Answer] = []
        r.peer.links[1].request(PromiseGet("q"), answers.append)
        await until(lambda: answers)
        r.b.slots = r.map_of(3, "b", "a")
        r.b.send(Slots(r.b.slots))
        # Soon: a broker that answers no heartbeats is joined anew after some seconds anyway.
        with trio.fail_after(4):
            await until(lambda: "b" in r.peer.owned)


async def test_a_map_that_cannot_be_harms_nobody() -> None:
    """The peer says why it leaves that broker alone, and goes on as soon as it tells a better."""
    async with rig() as r:
        r.a.slots = r.map_of(1, "a", "b")
        await until(lambda: r.peer.welcomed == ["a", "b"])
        r.a.slots = SlotMap(2, (("a", "nowhere"), ("b", "tcp://b")), ((300, 7), (2, 1)))
        r.a.send(Slots(r.a.slots))
        await until(lambda: "a map of slots that cannot be" in str(r.router.links[0].last_error))
        assert r.peer.maps == []
        r.request()
        r.a.slots = r.map_of(3, "b", "a")
        await until(lambda: r.answers)
        assert r.b.asked == ["p"]
        assert r.a.asked == []


@pytest.mark.parametrize(("name", "deployment"), [("c", "d"), ("b", "another")])
async def test_another_broker_in_the_place_of_one_gets_nothing(name: str, deployment: str) -> None:
    async with rig() as r:
        r.a.slots = r.map_of(1, "b", "a")
        r.b.name, r.b.deployment = name, deployment
        r.request()
        await until(lambda: len(r.b.peers) >= 2)
        assert r.b.asked == []
        errors = {link.last_error for link in r.router.links}
        assert any(error and "check the address" in error for error in errors)
        r.b.name, r.b.deployment = "b", "d"
        await until(lambda: r.answers)


async def test_a_broker_that_has_moved_is_reached_at_its_new_address() -> None:
    async with rig() as r:
        r.a.slots = SlotMap(1, (("a", r.b.url),), ((255, 0),))
        await until(lambda: r.peer.welcomed)
        r.b.name, r.b.slots = "a", r.a.slots
        r.a.name = "nobody"
        r.router.rejoin()
        await until(lambda: r.b.peers)
        r.request()
        await until(lambda: r.answers)
        assert r.b.asked == ["p"]


async def test_if_all_brokers_are_replaced_the_addresses_that_were_given_are_asked() -> None:
    """The last one may have gone before it could tell of the others."""
    peer = Peer()
    with zmq.Context() as context, trio.fail_after(DEADLINE_S):
        a, b = ScriptedBroker(context, "a"), ScriptedBroker(context, "b")
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run_for_a_while() -> None:
                with scope:
                    await a.run()

            nursery.start_soon(run_for_a_while)
            nursery.start_soon(b.run)
            async with open_router(f"{a.url},{b.url}", peer, context=context) as router:
                r = Rig(peer, router, a, b)
                a.slots, b.slots = r.map_of(1, "a"), r.map_of(2, "b")
                await until(lambda: peer.welcomed)
                scope.cancel()
                r.request()
                await until(lambda: r.answers)
                assert (a.asked, b.asked) == ([], ["p"])
                assert [link.url for link in router.links] == [b.url]
            nursery.cancel_scope.cancel()


async def test_an_address_of_another_broker_is_asked_for_its_map_alone() -> None:
    peer = Peer()
    with zmq.Context() as context, trio.fail_after(DEADLINE_S):
        a, b = ScriptedBroker(context, "a"), ScriptedBroker(context, "b")
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def run_for_a_while() -> None:
                with scope:
                    await a.run()

            nursery.start_soon(run_for_a_while)
            nursery.start_soon(b.run)
            async with open_router(f"{a.url},{b.url}", peer, context=context) as router:
                r = Rig(peer, router, a, b)
                a.slots = r.map_of(2, "a")
                # It knows nothing newer.
                b.slots = r.map_of(1, "b")
                await until(lambda: peer.welcomed)
                scope.cancel()
                r.request()
                await until(lambda: len(b.peers) == 1)
                await until(lambda: router.links[0].url == a.url)
                assert (r.answers, b.asked) == ([], [])
                # It goes on asking, because that broker may learn more.
                b.slots = r.map_of(3, "b")
                await until(lambda: r.answers)
                assert (a.asked, b.asked) == ([], ["p"])
            nursery.cancel_scope.cancel()
