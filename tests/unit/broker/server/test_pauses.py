"""How the loop pauses: it polls for frames only where nothing else will wake it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from tests.unit.broker.core.rig import hello
from tests.unit.store.attended_engine import AttendedEngine
from understudy_broker.core.config import BrokerConfig
from understudy_broker.protocol.frames import encode
from understudy_broker.protocol.messages import Message, Request
from understudy_broker.server import server as server_module
from understudy_broker.server.server import Server
from understudy_broker.transport.send_queues import Put
from understudy_broker.transport.socket import Pause
from understudy_broker.transport.transport import Received
from understudy_broker.transport.zap import Refusal
from understudy_store.commands import PromiseCreate
from understudy_store.records import Value
from understudy_store.store import LookupResult, Store, open_store

PEER = b"peer"


class Frames:
    """A transport with the frames that a test puts in, one turn after the other."""

    address = "inproc://test"
    connections = 1
    has_waiting = False
    waits_for_descriptors = True

    def __init__(self) -> None:
        self.coming: list[tuple[bytes, bytes | memoryview]] = []
        self.sent = 0
        self.turn: Callable[[], Pause | None]

    def put(self, *messages: Message) -> Pause:
        """Bring messages in one frame, and return the pause after it."""
        self.coming.append((PEER, encode(messages)))
        return self.pause()

    def pause(self) -> Pause:
        """Make a turn."""
        pause = self.turn()
        assert pause is not None
        return pause

    def receive(self) -> Received:
        coming, self.coming = self.coming, []
        return Received([], coming, [], True)

    def take_lost(self, _flooding: object = ()) -> list[bytes]:
        return []

    def send(self, peer: bytes, frame: bytes) -> Put:
        self.sent += 1
        return "sent"

    def flush(self) -> list[bytes]:
        return []

    def is_waiting(self, peer: bytes) -> bool:
        return False

    def silence_ms(self, peer: bytes) -> int | None:
        return None

    def identity(self, peer: bytes) -> str | None:
        return None

    def peer_address(self, peer: bytes) -> str | None:
        return None

    def take_refusals(self) -> list[Refusal]:
        return []

    def cut_revoked(self) -> list[bytes]:
        return []

    async def drive(self, turn: Callable[[], Pause | None]) -> None:
        self.turn = turn

    async def wait(self, timeout_s: float) -> None: ...

    async def guard(self, is_known: Callable[[bytes], bool], tell: Callable[[str], None]) -> None:
        raise NotImplementedError

    async def watch(self) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Slow:
    """The answers of a store that looks up on a thread of its own; the test lets them come."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], None]] = []

    def lookup(
        self, ids: set[str], on_done: Callable[[LookupResult], None], *, attended: bool
    ) -> LookupResult | None:
        self.answers.append(lambda: on_done([]))
        return None


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last commit counts as just made, however busy the machine is."""
    monkeypatch.setattr(server_module, "SHORT_WAIT_S", 60.0)


@pytest.fixture
def store() -> Store:
    return open_store("memory")


async def served(store: Store) -> Frames:
    frames = Frames()
    server = Server(store, BrokerConfig(), frames, lambda *_: None, None)
    await server.run()
    frames.put(hello("client", kind="client"))
    return frames


def create(number: int) -> Request:
    command = PromiseCreate(f"p{number}", 4_000_000_000_000, Value({}), {})
    return Request(number, command)


async def test_after_a_commit_the_next_frame_is_polled_for(store: Store) -> None:
    frames = await served(store)
    assert frames.put(create(1)).brief


async def test_nothing_is_polled_for_while_the_store_looks_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread wakes the loop, which does not hear that while it polls."""
    frames, slow = await served(store), Slow()
    assert frames.put(create(1)).brief
    monkeypatch.setattr(store, "lookup", slow.lookup)
    assert not frames.put(create(2)).brief
    assert not frames.pause().brief
    slow.answers.pop()()
    assert frames.pause().brief


async def test_while_the_loop_attends_to_a_commit_it_pauses_for_the_answer() -> None:
    engine = AttendedEngine()
    store = Store(engine)
    frames = await served(store)
    engine.known = {"p1"}
    pause = frames.put(create(1))
    assert (pause.descriptors, pause.brief) == ((store.attended_commit.descriptor,), True)
    assert frames.sent == 1
    engine.begun_commit.answer()
    pause = frames.pause()
    assert (pause.descriptors, pause.brief) == ((), True)
    assert frames.sent == 2
    # A thread of the store wakes the loop, once it has completed what was cut.
    engine.known.add("p2")
    frames.put(create(2))
    is_back = Event()
    engine.begun_commit.cut(is_back)
    pause = frames.pause()
    assert (pause.descriptors, pause.brief) == ((), False)
    is_back.set()
    store.close()
    frames.pause()
    assert frames.sent == 3


async def test_while_the_loop_attends_to_a_lookup_it_pauses_for_the_answer() -> None:
    engine = AttendedEngine()
    store = Store(engine)
    frames = await served(store)
    assert frames.put(create(1)).descriptors == (engine.begun_find.descriptor,)
    engine.begun_find.answer()
    assert frames.pause().descriptors == (engine.begun_commit.descriptor,)
    pause = frames.put(create(2))
    assert pause.descriptors == (engine.begun_find.descriptor, engine.begun_commit.descriptor)
    assert pause.brief
    # The reader's thread wakes the loop, once it has completed what was cut.
    is_back = Event()
    engine.begun_find.cut(is_back)
    engine.begun_commit.answer()
    pause = frames.pause()
    assert (pause.descriptors, pause.brief) == ((), False)
    is_back.set()
    store.close()
    assert frames.sent == 2
