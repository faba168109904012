"""`SlotPlan`: what a broker of a shared store does next about its slots. Pure.

The database says who has which slots (`Holdings`). A broker takes in what is its own there and it
has not loaded yet, gives to others what they are to have, one part at a time, and tells its peers a
map of what is so. It does one thing at a time: it loads, or it gives away. It is asked in each turn
of the broker's loop, so what it has found is kept until something changes.

By the names of the brokers that live, everybody finds the same shares (`shared_out`). So when a
broker joins, each of the others gives it a part of its own slots, and keeps the rest; when one
leaves, it gives each of the others a part. That is one gift, because the others do not count this
broker any more, and tell of what it still has that it is nobody's.

A broker that leaves is among the living no more, but its peers are told of it until others have its
slots: it performs what concerns them, and a peer that knows of no broker would find none again.

The version of the map that peers are told is twice that of the holdings, and one more while this
broker performs everything in the slots that are its own. Otherwise it says of those that it has not
loaded yet, or is giving away, that they are nobody's. Two such maps may have the same version, one
from before a load and one of a gift after it. So the map in between must be told: it is newer than
both, and its readers take neither for news after it.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.protocol.messages import NOBODY, SlotMap
from understudy_broker.protocol.placement import runs_of
from understudy_store.engines.shared import Holdings
from understudy_store.slots import shared_out

#: Slots that are given away together. Their callers wait for as long as that takes.
GIFT_SLOTS_MAX: Final = 16
#: Pending promises that are given away together: to forget one, read it and take it in takes about
#: 25 µs. But each gift walks over all that this broker has, which takes 0.3 µs for each, and so it
#: has this part of its slots at least.
GIFT_PENDING_MAX: Final = 2_000
GIFT_PART_MIN: Final = 1 / 16


class SlotPlan:
    """The slots of one broker, and its next step.

    Parameters
    ----------
    writer
        The number by which the database knows this broker.

    Attributes
    ----------
    mine
        Slots that are loaded, and not given away.
    is_leaving
        The broker is about to end: all its slots are for the others.
    """

    def __init__(self, writer: int) -> None:
        self._writer = writer
        self._holdings: Holdings | None = None
        self.mine: frozenset[int] = frozenset()
        self.is_leaving = False
        #: this broker's slots, by the holdings
        self._owned: frozenset[int] = frozenset()
        self._loading: frozenset[int] = frozenset()
        self._giving: dict[int, int] = {}
        #: this broker, as the database has last named it among the living
        self._me: tuple[int, str, str] | None = None
        # What was found since the last change; None: to be found.
        self._gifts: dict[int, int] | None = None
        self._map: SlotMap | None = None

    def _changed(self) -> None:
        self._gifts = self._map = None

    def leave(self) -> None:
        """Have all slots given to the others from now on."""
        self.is_leaving = True
        self._changed()

    # What the database says ----------------------------------------------------------------------

    def take(self, holdings: Holdings) -> bool:
        """Take newer holdings; return False if they are no news.

        Slots that were given away, and are not this broker's any more, are forgotten. The database
        takes no others from a broker that lives.
        """
        known = self._holdings
        if known is not None and (
            holdings.version < known.version
            or (holdings.version == known.version and holdings.brokers == known.brokers)
        ):
            return False
        self._holdings = holdings
        self._owned = frozenset(holdings.of(self._writer))
        self._me = next((each for each in holdings.brokers if each[0] == self._writer), self._me)
        self._changed()
        return True

    @property
    def lost(self) -> frozenset[int]:
        """Slots that the database has taken from this broker against its will."""
        return self.mine - self._owned - self._giving.keys()

    def writers_at(self, address: str) -> list[int]:
        """Return the writers whose peers reach them at an address."""
        brokers = () if self._holdings is None else self._holdings.brokers
        return [writer for writer, _, each in brokers if each == address]

    # The next step -------------------------------------------------------------------------------

    def next_load(self) -> frozenset[int]:
        """Return the slots to be loaded now, for `loaded`; none if there are none, or not now."""
        if self._loading or self._giving:
            return frozenset()
        self._loading = self._owned - self.mine
        return self._loading

    def loaded(self) -> frozenset[int]:
        """Note that the slots of the last `next_load` are taken in; return them."""
        loaded, self._loading = self._loading, frozenset()
        self.mine |= loaded
        self._changed()
        return loaded

    def next_gift(self, pending: int = 0) -> dict[int, int]:
        """Return the slots to be given away now, each with its new writer, for `given`.

        Parameters
        ----------
        pending
            Promises in all slots of this broker that wait for something.
        """
        if self._loading or self._giving:
            return {}
        if not (gifts := self._all_gifts()):
            return {}
        if not self.is_leaving:
            part = max(GIFT_PENDING_MAX / max(pending, GIFT_PENDING_MAX), GIFT_PART_MIN)
            count = max(1, min(int(part * len(self.mine)), GIFT_SLOTS_MAX))
            gifts = dict(list(gifts.items())[:count])
        self._giving = gifts
        self._changed()
        return gifts

    @property
    def is_loading(self) -> bool:
        """True from `next_load` to `loaded`."""
        return bool(self._loading)

    @property
    def has_gifts(self) -> bool:
        """True if others are to have slots that are this broker's, or are being loaded."""
        return bool(self._loading or self._all_gifts())

    def _all_gifts(self) -> dict[int, int]:
        """Return all slots that others are to have, each with its new writer."""
        if self._gifts is None:
            self._gifts = self._find_gifts()
        return self._gifts

    def _find_gifts(self) -> dict[int, int]:
        if self._holdings is None:
            return {}
        writer_of = {name: writer for writer, name, _ in self._holdings.brokers}
        if self.is_leaving:
            writer_of = {name: each for name, each in writer_of.items() if each != self._writer}
        if not writer_of:
            return {}
        writers = list(writer_of.values())
        wanted = [writers[place] for place in shared_out(list(writer_of))]
        return {slot: wanted[slot] for slot in sorted(self.mine) if wanted[slot] != self._writer}

    def given(self) -> int:
        """Note that the database has the slots of the last `next_gift` as others', or refused it.

        What it has left with this broker is loaded again.

        Returns
        -------
        The number of those that have left.
        """
        left = len(self._giving.keys() - self._owned)
        self.mine -= self._giving.keys()
        self._giving = {}
        self._changed()
        return left

    # The map -------------------------------------------------------------------------------------

    def slot_map(self) -> SlotMap | None:
        """Return the map that peers are told; None before the first holdings."""
        if self._map is None and self._holdings is not None:
            self._map = self._find_map(self._holdings)
        return self._map

    def _find_map(self, holdings: Holdings) -> SlotMap:
        living = list(holdings.brokers)
        if self._me is not None and self._me not in living and (self._owned or not living):
            living.append(self._me)
        address_of = {name: address for _, name, address in living}
        writer_of = {name: writer for writer, name, _ in living}
        brokers = tuple(sorted(address_of.items()))
        place_of: dict[int | None, int] = {
            writer_of[name]: place for place, (name, _) in enumerate(brokers)
        }
        absent = self._owned - (self.mine - self._giving.keys())
        places = [
            NOBODY if slot in absent else place_of.get(writer, NOBODY)
            for slot, writer in enumerate(holdings.slots)
        ]
        version = 2 * holdings.version + (not absent)
        return SlotMap(version, brokers, runs_of(places))
