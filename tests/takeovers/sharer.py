"""A program that has some slots of a shared store and commits to them; `sharing` starts it.

Each slot is a chain: commit number n of a slot inserts a promise that says who made it, and settles
the one of commit n - 1. A commit is about several slots. Slots that others ought to have are handed
over to them. SIGTERM ends the program in order.

Its log has a line for each event: ``opened WRITER``, ``left``, the error that ended it, and

``c TIME SLOT:NUMBER ...``
    a commit was acknowledged before that time;
``r TIME SLOT:NUMBER``
    after that time, memory was fresh, and number was the last one of the slot;
``h COUNT``
    so many slots were handed over.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.attending import commit_attended, find_attended
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.base import Opening, Share
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.postgres import (
    connections,
    engine,
    keeper,
    opening,
    pulse,
    writer,
)
from understudy_store.engines.postgres.holdings import Look
from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine
from understudy_store.engines.postgres.statements import Statements
from understudy_store.errors import StoreError, StoreFencedError
from understudy_store.records import Row
from understudy_store.slots import SLOTS, shared_out, slot_of

#: exit codes: left in order, fenced, and whatever else ended it
LEFT, FENCED, FAILED = 0, 3, 4
SLOTS_IN_COMMIT_MAX: Final = 12


def _homes() -> list[str]:
    homes: dict[int, str] = {}
    for n in count():
        homes.setdefault(slot_of(f"h{n}"), f"h{n}")
        if len(homes) == SLOTS:
            return [homes[slot] for slot in range(SLOTS)]
    raise AssertionError


#: one of each slot
HOMES: Final = _homes()


def link(slot: int, number: int, by: str) -> Row:
    """The promise of a commit."""
    return row(f"{HOMES[slot]}.{number}", by=by)


def number_of(row: Row) -> int:
    """The number of a link in its chain."""
    return int(row.promise.id.partition(".")[2])


def settle_in(lease_s: float) -> None:
    """Work with another lease in this process. Others are waited for without end."""
    for module, name, value in (
        (opening, "LEASE_S", lease_s),
        (opening, "LIVE_S", 3600.0),
        (pulse, "BEAT_S", lease_s / 4),
        (keeper, "LEASE_S", lease_s),
        (keeper, "LOOK_S", lease_s / 4),
        (journaled_table, "LAG_S", 0.05),
        (connections, "PATIENCE_S", 30.0),
    ):
        setattr(module, name, value)


def remove_fence() -> None:
    """Let this process write whatever others have done: for the check of the check."""
    init = Statements.__init__
    look = keeper.look  # type: ignore[attr-defined]  # as the keeper imports it

    def unfenced(self: Statements, schema: str) -> None:
        init(self, schema)
        for name in ("commit", "next_session", "last_commit", "unfenced", "unfenced_session"):
            text = getattr(self, name).replace("not w.fenced", "true").replace("not fenced", "true")
            setattr(self, name, text.replace("select w.fenced", "select false"))

    def always_beaten(*args: Any) -> Look:
        found: Look = look(*args)
        return found._replace(beaten=True)

    Statements.__init__ = unfenced  # type: ignore[method-assign]  # not for this process only
    keeper.look = always_beaten  # type: ignore[assignment, attr-defined]
    # A takeover has removed its commits from the journal, and what its follower goes by.
    for module in (engine, writer):
        module.check_complete = lambda *given: given[-1]  # type: ignore[attr-defined]
    journaled_table.LAG_S = 3600.0  # type: ignore[misc]


class Sharer:
    """One broker: its slots with the last link of each, and its log."""

    def __init__(self, url: str, log: str, name: str) -> None:
        self._out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._by = Path(log).name
        self._random = random.Random(self._by)
        #: last link of each slot that is loaded; None: there is none
        self._heads: dict[int, Row | None] = {}
        self._turn: Iterator[int] = iter(())
        self._is_leaving = False
        signal.signal(signal.SIGTERM, self._leave)
        self._engine = SharedPostgresEngine(url, Opening(share=Share(name, f"tcp://{name}:1")))
        self._me = self._engine.load().epoch
        self._name = name
        self.say(f"opened {self._me}")

    def say(self, text: str) -> None:
        """Log a line."""
        os.write(self._out, f"{text}\n".encode())

    def _leave(self, *_: object) -> None:
        self._is_leaving = True

    def run(self) -> None:
        """Commit until it is to leave."""
        turn = 0
        while not self._is_leaving:
            turn += 1
            self._load()
            self._read()
            if not self._commit():
                time.sleep(0.01)
            if turn % 20 == 0:
                self._hand_over()
        self._engine.close()
        self.say("left")

    def _load(self) -> None:
        mine = self._engine.holdings().of(self._me)
        wanted = [slot for slot in mine if slot not in self._heads]
        if wanted:
            loaded = self._engine.load_slots(wanted)
            self._heads.update(dict.fromkeys(wanted))
            for pending in loaded.live:
                slot = slot_of(pending.id)
                assert self._heads[slot] is None, f"slot {slot} has two ends"
                self._heads[slot] = pending.row()

    def _read(self) -> None:
        if not self._heads:
            return
        slot = self._random.choice(list(self._heads))
        now = time.monotonic()
        if self._engine.is_fresh():
            self.say(f"r {now:.6f} {slot}:{self._next(slot) - 1}")

    def _next(self, slot: int) -> int:
        head = self._heads[slot]
        return 0 if head is None else number_of(head) + 1

    def _commit(self) -> bool:
        chosen = [
            slot
            for _ in range(self._random.randint(1, SLOTS_IN_COMMIT_MAX))
            if (slot := self._following()) is not None
        ]
        chosen = list(dict.fromkeys(chosen))
        made = [link(slot, self._next(slot), self._by) for slot in chosen]
        before = [head for slot in chosen if (head := self._heads[slot]) is not None]
        ended = [settled(head, number_of(head) + 1) for head in before]
        if not made:
            return False
        commit_attended(self._engine, Changes(1, inserted=made, updated=ended), self._me)
        # Only now is anybody told.
        told = " ".join(
            f"{slot}:{number_of(each)}" for slot, each in zip(chosen, made, strict=True)
        )
        self.say(f"c {time.monotonic():.6f} {told}")
        self._heads.update(zip(chosen, made, strict=True))
        if self._random.random() < 0.1:
            assert find_attended(self._engine, [made[0].promise.id, f"{HOMES[chosen[0]]}.x"])
        return True

    def _following(self) -> int | None:
        """Return the next slot, one after the other."""
        for _ in range(2):
            for slot in self._turn:
                if slot in self._heads:
                    return slot
            self._turn = iter(list(self._heads))
        return None

    def _hand_over(self) -> None:
        holdings = self._engine.holdings()
        ids = [id_ for id_, _, _ in holdings.brokers]
        places = shared_out([name for _, name, _ in holdings.brokers])
        going = {slot: to for slot in self._heads if (to := ids[places[slot]]) != self._me}
        chosen = self._random.sample(sorted(going), min(len(going), self._random.randint(1, 80)))
        if not chosen:
            return
        after = self._engine.hand_over({slot: going[slot] for slot in chosen})
        gone = [slot for slot in chosen if after.slots[slot] != self._me]
        for slot in gone:
            del self._heads[slot]
        self.say(f"h {len(gone)}")


def main(url: str, log: str, name: str, lease_s: float, *, fenced: bool = True) -> None:
    """Commit until something ends it: the process ends with `FENCED` or `FAILED` then."""
    settle_in(lease_s)
    if not fenced:
        remove_fence()
    sharer: Sharer | None = None
    try:
        sharer = Sharer(url, log, name)
        sharer.run()
        os._exit(LEFT)
    except (StoreError, AssertionError) as error:
        with suppress(OSError), Path(log).open("a") as out:
            out.write(f"{type(error).__name__}: {error}\n")
        os._exit(FENCED if isinstance(error, StoreFencedError) else FAILED)
