"""How long slots of a shared store stand still while brokers come, leave and are killed.

``python -m benchmarks.slot_moves 100000`` makes so many promises that stay pending, and then calls
in each slot without end, one after the other, while brokers of one PostgreSQL come and go. It
prints the longest call of each slot meanwhile: their median, and the longest of all.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

import trio

from tests.cluster import Cluster, find_programs
from tests.integration.sdk.shared_brokers import Brokers, has_shares
from tests.support import eventually
from understudy_broker.link.link import Link
from understudy_broker.link.router import Router, open_router
from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    SlotMap,
    ToPeer,
    Welcome,
)
from understudy_store.commands import PromiseCreate
from understudy_store.records import TAG_EXTERNAL, Value
from understudy_store.slots import SLOTS, slot_of

#: requests under way while the promises are made
WINDOW: Final = 5_000
#: from one call of a slot to the next, and how long calls go on before and after a change
PAUSE_S: Final = 0.02
CALM_S: Final = 1.5
FAR_MS: Final = 10**9
HALVES: Final = (128, 128)
THIRDS: Final = (84, 86, 86)


class Peer:
    """A client that wants nothing but answers."""

    def hello(self, _: Link) -> Hello:
        name = f"moves-{os.getpid()}"
        return Hello(PROTOCOL_VERSION, "client", "moves", name, "1", os.getpid(), "host", "bench")

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        """Take nothing."""

    def on_connected(self, link: Link, welcome: Welcome) -> None:
        """Do nothing."""

    def on_disconnected(self, link: Link, why: str) -> None:
        """Do nothing."""

    def on_link(self, link: Link) -> None:
        """Do nothing."""

    def on_gone(self, link: Link) -> None:
        """Do nothing."""

    def on_map(self, link: Link, slots: SlotMap) -> None:
        """Do nothing."""

    def is_busy(self) -> bool:
        return True

    def minds_moves(self) -> bool:
        return False

    def leaves(self) -> bool:
        return True


class Caller:
    """Makes promises, and notes how long that takes in each slot."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._deadline = time.time_ns() // 1_000_000 + FAR_MS
        self._numbers = count()
        self.longest_ms = [0.0] * SLOTS

    def _create(self, id_: str, on_reply: Callable[[Answer], None]) -> None:
        tags = {TAG_EXTERNAL: "true"}
        command = PromiseCreate(id_, self._deadline, Value({}, b"x" * 100), tags)
        self._router.request(command, on_reply)

    async def fill(self, wanted: int) -> None:
        """Make promises that stay pending."""
        answers: list[Answer] = []
        sent = 0
        while len(answers) < wanted:
            self._router.cork()
            while sent < wanted and sent - len(answers) < WINDOW:
                self._create(f"order-{sent}", answers.append)
                sent += 1
            self._router.uncork()
            await trio.sleep(0.005)

    async def _call_for_ever(self, slot: int, home: str) -> None:
        while True:
            began = time.perf_counter()
            await self._call(f"{home}.{next(self._numbers)}")
            took_ms = (time.perf_counter() - began) * 1000
            self.longest_ms[slot] = max(self.longest_ms[slot], took_ms)
            await trio.sleep(PAUSE_S)

    async def _call(self, id_: str) -> None:
        answered = trio.Event()
        self._create(id_, lambda _: answered.set())
        await answered.wait()

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Call in each slot while the block runs."""
        homes: dict[int, str] = {}
        for number in count():
            homes.setdefault(slot_of(f"h{number}"), f"h{number}")
            if len(homes) == SLOTS:
                break
        async with trio.open_nursery() as nursery:
            for slot, home in homes.items():
                nursery.start_soon(self._call_for_ever, slot, home)
            await trio.sleep(CALM_S)
            self.longest_ms = [0.0] * SLOTS
            yield
            nursery.cancel_scope.cancel()


async def _measure(brokers: Brokers, pending: int) -> None:
    async with open_router(brokers.url, Peer(), backlog_max=2 * WINDOW) as router:
        while len(router.links) < len(brokers.running):
            await trio.sleep(PAUSE_S)
        caller = Caller(router)
        await caller.fill(pending)
        changes: Sequence[tuple[str, Callable[[], object], Sequence[int]]] = (
            ("nothing happens", lambda: None, HALVES),
            ("c comes", partial(brokers.start, "c"), THIRDS),
            ("a leaves", partial(brokers.end, "a", signal.SIGTERM), HALVES),
            ("a comes", partial(brokers.start, "a"), THIRDS),
            ("b is killed", partial(brokers.end, "b", signal.SIGKILL), HALVES),
        )
        print(f"{pending:,} promises are pending; the longest call of each slot:")
        for what, act, shares in changes:
            async with caller.calling():
                await trio.to_thread.run_sync(act)
                while not await trio.to_thread.run_sync(has_shares, brokers, list(shares)):
                    await trio.sleep(PAUSE_S)
                await trio.sleep(CALM_S)
            middle, most = median(caller.longest_ms), max(caller.longest_ms)
            print(f"  {what:16} median {middle:4.0f} ms, longest {most:4.0f} ms", flush=True)


def main() -> None:
    """Measure, over a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pending", type=int, nargs="?", default=100_000)
    pending: int = parser.parse_args().pending
    programs = find_programs()
    assert programs is not None, "no PostgreSQL: install the development dependencies"
    cluster = Cluster(programs, on_disk=True)
    try:
        cluster.make()
        cluster.start()
        with tempfile.TemporaryDirectory() as logs:
            brokers = Brokers(cluster.new_schema(), Path(logs))
            try:
                brokers.start("a", "b")
                eventually(lambda: has_shares(brokers, list(HALVES)), 30)
                trio.run(_measure, brokers, pending)
            finally:
                brokers.kill()
    finally:
        cluster.remove()


if __name__ == "__main__":
    main()
