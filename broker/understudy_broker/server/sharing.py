"""`Sharing`: lets slots of a shared store come to this broker and leave it, as its database says.

The database says who has which slots, on a thread of the store. The plan (`core.slot_plan`) says
what to do about it, the core takes slots in and gives them up (`core.slot_moves`), and the store
loads them and hands them over. This part carries from one to the other, in the broker's own turns:
threads of the store only leave an answer here and wake the loop.

A slot that is handed over is performed by nobody from the moment in which the core gives it up
until the other broker has loaded it. So slots go in parts, and what the journal still has is
brought to the tables before.

A broker whose row is locked at that moment is given nothing: it is being taken over from, or begins
a session. Then this one goes on with the slots, and tries it again after `REST_S`. Without that
pause the slots would come and go all the time, and nothing would be performed in them.

**Stopping in order.** A broker that ends gives all its slots to the others first, for as long as
`LEAVE_S`. What is left then, or after a crash, others take over once its pulse is too old. Brokers
may have joined since it looked last. So it tells the database that it leaves before it believes
that it is the only one: otherwise its peers would not hear of the new ones, and could not find
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from understudy_broker.core.core import BrokerCore
from understudy_broker.core.slot_plan import SlotPlan
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.server.logs import Log
from understudy_store.changes import Snapshot
from understudy_store.engines.shared import Holdings, SharedEngine
from understudy_store.errors import StoreFailedError
from understudy_store.store import Store

#: how long a broker that ends may take to hand its slots over
LEAVE_S: Final = 10.0
#: how soon to look again whether the store may be read, while it may not
STALE_S: Final = 0.05
#: how long slots stay after nobody could be given them
REST_S: Final = 0.5
#: what the log says of slots that have moved
CAME: Final = "this broker was given slots by others"
WENT: Final = "this broker has given slots to others"


class Sharing:
    """The slots of one broker of a shared store. All but the `_on_` methods belong to the loop.

    Parameters
    ----------
    share
        The engine of `store`.
    clock
        The broker's clock, epoch milliseconds.
    wake
        Ends the pause of the loop; called on threads of the store.
    """

    def __init__(
        self,
        store: Store,
        share: SharedEngine,
        core: BrokerCore,
        clock: Callable[[], int],
        log: Log,
        wake: Callable[[], None],
    ) -> None:
        assert core.moves is not None
        self._store = store
        self._share = share
        self._core = core
        self._moves = core.moves
        self._clock = clock
        self._log = log
        self._wake = wake
        self._plan = SlotPlan(share.writer)
        self._told: SlotMap | None = None
        #: what is being given away, or None; and whether the store is at work on it
        self._gift: dict[int, int] | None = None
        self._is_handing = False
        #: the database knows that this broker leaves
        self._has_said_so = False
        #: by `clock`, when slots are given away again
        self._rests_until = 0
        # Answers of the store's threads, until the next turn. One thread writes each at a time.
        self._news: Holdings | None = None
        self._loaded: Snapshot | StoreFailedError | None = None
        self._handed: Holdings | StoreFailedError | None = None
        core.metrics.add_source(share.numbers)
        share.watch_holdings(self._on_news)

    # The store's threads -------------------------------------------------------------------------

    def _on_news(self, holdings: Holdings) -> None:
        self._news = holdings
        self._wake()

    def _on_loaded(self, result: Snapshot | StoreFailedError) -> None:
        self._loaded = result
        self._wake()

    def _on_handed(self, result: Holdings | StoreFailedError) -> None:
        self._handed = result
        self._wake()

    def on_other_map(self, slots: SlotMap) -> None:
        """Take the map that another broker tells; on the loop.

        If it has something for this broker, that has just been given to it: it need not be found
        out later.
        """
        told = self._told
        if told is None or slots.version // 2 > told.version // 2:
            self._share.look()

    def on_reachable(self, address: str, is_reachable: bool) -> None:
        """Note that another broker can be reached, or not any more; on the loop.

        One that was killed is found out sooner by that than by its lease.
        """
        for writer in self._plan.writers_at(address):
            (self._share.trust if is_reachable else self._share.suspect)(writer)

    # The loop ------------------------------------------------------------------------------------

    @property
    def is_fresh(self) -> bool:
        """True if nobody else can have taken over from this broker without its knowing."""
        return self._share.is_fresh()

    def leave(self) -> None:
        """Give all slots to the other brokers from now on; see `has_left`."""
        if not self._plan.is_leaving:
            self._plan.leave()
            self._wake()

    @property
    def has_left(self) -> bool:
        """True if this broker has nothing to give away, or nobody to give it to."""
        return self._has_said_so and self._gift is None and not self._plan.has_gifts

    def pause_s(self) -> float:
        """Return how long the loop may pause at most, as far as slots are concerned."""
        rest_ms = self._rests_until - self._clock()
        return rest_ms / 1000 if rest_ms > 0 else math.inf

    def tell_what_is_left(self) -> None:
        """Log the slots that could not be given to others before this broker ends."""
        if not self.has_left:
            text = "ends with slots that it could not hand over; others take over from it"
            self._log("warning", text, {"slots": len(self._plan.mine)})

    @property
    def _pending(self) -> int:
        return self._core.machine.view.statistics().promises_pending

    def turn(self) -> None:
        """Take the answers of the store, and do what is next. Called before each step of the core.

        Raises
        ------
        StoreFailedError
            The store has failed, or slots were taken away from this broker.
        """
        self._take_answers()
        plan = self._plan
        if slots := plan.next_load():
            self._store.load_slots(slots, self._on_loaded)
        elif self._gift is None and not plan.is_loading:
            self._give_next()
        if self._gift is not None and not self._moves.leaving and not self._is_handing:
            self._is_handing, self._has_said_so = True, plan.is_leaving
            self._store.hand_over(self._gift, self._on_handed, leaving=plan.is_leaving)
        self._tell()

    def _give_next(self) -> None:
        """Begin to give slots away; without any, only to say that this broker leaves."""
        plan = self._plan
        if not (plan.has_gifts or plan.is_leaving) or self._clock() < self._rests_until:
            return
        if gift := plan.next_gift(self._pending):
            self._gift = gift
            self._moves.give_up(gift.keys())
        elif plan.is_leaving and not self._has_said_so:
            self._gift = {}

    def _take_answers(self) -> None:
        plan = self._plan
        news, self._news = self._news, None
        if news is not None:
            self._take(news)
        # Requests that are being looked up were selected before these slots were here.
        if self._loaded is not None and not self._core.looking_up:
            snapshot, self._loaded = self._loaded, None
            if isinstance(snapshot, StoreFailedError):
                raise snapshot
            slots = plan.loaded()
            self._moves.admit(slots, snapshot, self._clock())
            # Each part of a move; the log has the brokers that come and leave.
            self._log("debug", CAME, {"slots": len(slots), "now": len(plan.mine)})
            # Before others of these slots are given away: that map has the version of the last one.
            self._tell()
        if self._handed is not None:
            handed, self._handed = self._handed, None
            if isinstance(handed, StoreFailedError):
                raise handed
            self._take(handed)
            wanted = bool(self._gift)
            left = plan.given()
            self._gift, self._is_handing = None, False
            if left:
                level = "info" if plan.is_leaving else "debug"
                self._log(level, WENT, {"slots": left, "now": len(plan.mine)})
            elif wanted:
                self._rests_until = self._clock() + round(REST_S * 1000)
        if plan.lost:
            raise StoreFailedError(
                f"the database has given slots of this broker to another one "
                f"({sorted(plan.lost)[:3]} and so on): it takes this broker for dead"
            )

    def _take(self, holdings: Holdings) -> None:
        before = self._plan.slot_map()
        if self._plan.take(holdings):
            names = sorted(name for _, name, _ in holdings.brokers)
            if before is None or names != [name for name, _ in before.brokers]:
                text = "the brokers of this store have changed"
                self._log("info", text, {"brokers": ", ".join(names)})

    def _tell(self) -> None:
        slots = self._plan.slot_map()
        if slots is not self._told and slots is not None and slots != self._told:
            self._told = slots
            self._moves.tell(slots)
