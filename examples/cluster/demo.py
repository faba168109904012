"""The demo of a cluster: brokers and a database server die under load, and calls go on.

Run it with ``make demo-cluster``. It starts PostgreSQL with a synchronous standby, three brokers
that share it, and nodes of two groups, and places orders all the time. Meanwhile it kills a broker,
kills the primary, and stops a broker in order. At the end it counts what became of the orders.
Everything is stopped and removed.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Final

import trio

from examples.async_rpc.demo_program import DemoError, ProcessLog, play, say, since
from examples.cluster.load import THREADS, Load
from examples.cluster.system import (
    BROKERS,
    LEAVER,
    NODES,
    PATIENCE_S,
    RESTART_S,
    VICTIM,
    ClusterSystem,
)
from tests.cluster import find_programs
from tests.standby_pair import StandbyPair

#: Seconds for which one can watch after each event.
WATCH_S: Final = 4
#: Seconds between two lines of numbers.
LINE_S: Final = 1.0


class Story:
    """The parts of the demo, in order."""

    def __init__(self, pair: StandbyPair, system: ClusterSystem) -> None:
        self._pair = pair
        self._system = system
        self._load = Load(system.url)
        self._longest: dict[str, float] = {}

    async def tell(self) -> None:
        """Play all parts."""
        self._load.start()
        try:
            say(f"2. Orders are placed all the time, {THREADS} at once. The 256 slots of their ids")
            say("   are shared out among the brokers")
            await self._watch(WATCH_S)
            await self._show_brokers()
            say("")
            self._note("nothing happened")
            await self._a_broker_dies()
            await self._the_primary_dies()
            await self._a_broker_leaves()
            await trio.to_thread.run_sync(self._load.stop, abandon_on_cancel=True)
            self._note("a broker left")
            self._count()
        finally:
            self._load.close()

    async def _a_broker_dies(self) -> None:
        had = (await self._system.slots())[VICTIM]
        pid, writer = await self._system.kill_broker()
        killed_at = time.monotonic()
        say(f"3. Broker {VICTIM} (process {pid}) is killed with SIGKILL. It had {had} slots")
        await self._system.wait_for_takeover(writer)
        say(f"   {since(killed_at)} later the other brokers have them:")
        await self._watch(WATCH_S)
        say(f"   its supervisor starts it again after {RESTART_S:g} s:")
        while (await self._system.slots())[VICTIM] < had - 1:
            await self._watch(1)
            if time.monotonic() > killed_at + PATIENCE_S:
                raise DemoError(f"broker {VICTIM} has not come back within {PATIENCE_S:g} s")
        say(f"   {since(killed_at)} after its death it has its share again:")
        await self._watch(2)
        say("")
        self._note("a broker was killed and came back")

    async def _the_primary_dies(self) -> None:
        port = self._pair.primary.port
        say(f"4. The primary (PostgreSQL at port {port}) is killed. Nothing can be stored now")
        await self._pair.call(self._pair.kill)
        killed_at = time.monotonic()
        await trio.sleep(1)
        await self._line()
        await self._pair.call(self._pair.promote)
        port = self._pair.primary.port
        say(f"   {since(killed_at)} later its standby (at port {port}) is promoted")
        await self._watch(WATCH_S)
        say("")
        self._note("the primary was killed, and its standby promoted a second later")

    async def _a_broker_leaves(self) -> None:
        had = (await self._system.slots())[LEAVER]
        say(f"5. Broker {LEAVER} is stopped in order: it gives its {had} slots to the others first")
        asked_at = time.monotonic()
        await self._system.stop_broker()
        say(f"   {since(asked_at)} later it is gone:")
        await self._watch(2)
        say("")

    def _count(self) -> None:
        load, charges = self._load, self._system.charges()
        again = sum(charges.values()) - len(charges)
        say("6. The end: no more orders are placed")
        say(f"   {load.asked:,} orders were placed, and {load.done:,} returned what they must")
        if load.problems or load.done != load.asked or len(charges) != load.asked:
            raise DemoError(f"orders were lost: {load.problems[:3]}, charged {len(charges)}")
        if again:
            # Steps are performed at least once, and stored exactly once.
            say(f"   none was lost; {again} charges were performed a second time")
        else:
            say("   none was lost, none failed, and each was charged once")
        say("   The longest time that an order took while")
        for what, longest_s in self._longest.items():
            say(f"     {what:<64} {longest_s:.2f} s")

    # Numbers that move ---------------------------------------------------------------------------

    async def _watch(self, lines: int) -> None:
        for _ in range(lines):
            await trio.sleep(LINE_S)
            await self._line()

    async def _line(self) -> None:
        slots = await self._system.slots()
        shares = "  ".join(f"{name} {slots[name] or '-':>3}" for name in BROKERS)
        say(f"   {self._load.done:>7,} orders done    slots of brokers: {shares}")

    async def _show_brokers(self) -> None:
        say("   $ understudy brokers")
        for line in (await self._system.run_command("brokers")).splitlines():
            say(f"   {line}".rstrip())

    def _note(self, what: str) -> None:
        """Note how long a call took at most since the last note."""
        self._longest[what] = self._load.longest_s()


async def tell(folder: Path, log: ProcessLog) -> None:
    """Start everything, and tell the story."""
    programs = find_programs()
    if programs is None:
        raise DemoError("no PostgreSQL is installed: install the development dependencies")
    say("understudy: brokers that share one PostgreSQL, and calls that go on while they die\n")
    say("Starting PostgreSQL with a synchronous standby, three brokers and four nodes ...\n")
    started_at = time.monotonic()
    pair = StandbyPair(programs, "demo")
    try:
        await pair.call(pair.start)
        system = ClusterSystem(folder, pair, log)
        async with system.open():
            count = 2 + len(BROKERS) + sum(NODES.values())
            say(f"1. {count} processes run: a primary and its standby ({since(started_at)}),")
            say(f"   brokers {', '.join(BROKERS)}, two nodes of each group ({', '.join(NODES)})\n")
            await Story(pair, system).tell()
    finally:
        pair.remove()


def main() -> int:
    """Run the demo; return its exit code."""
    # That a broker does not answer is part of the story.
    logging.getLogger("understudy").setLevel(logging.ERROR)
    return play(tell)


if __name__ == "__main__":
    sys.exit(main())
