"""Faults of the clocks of broker and peers."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_CLOCK: Final = "test_clock.py"

_CLOCKS: Final = (
    _mutant(
        "any-jump-believed",
        None,
        "a wall clock that is set by years is held until a person confirms it",
        "understudy_broker.clock.Clock.compare",
        swap("abs(jump_ms) > self._believed_ms", "abs(jump_ms) > 100 * FAR_MS"),
        _CLOCK,
    ),
    _mutant(
        "schedules-stay-at-the-old-date",
        None,
        "schedules follow a wall clock that is set",
        "understudy_broker.clock.Clock.compare",
        drop("self.ahead_ms = ahead_ms"),
        _CLOCK,
    ),
    _mutant(
        "held-for-ever",
        None,
        "a wall clock that is right again is followed, however far it was away",
        "understudy_broker.clock.Clock.compare",
        swap("abs(ahead_ms) > self._believed_ms", "ahead_ms != 0"),
        _CLOCK,
    ),
    _mutant(
        "long-absence-doubted-on-any-clock",
        None,
        "a wall clock behind the store is wrong, so that it is set by days is believed",
        "understudy_broker.clock.Clock.__init__",
        swap("FAR_MS if ahead_ms >= NEAR_MS else JUMP_MS", "JUMP_MS"),
        _CLOCK,
    ),
    _mutant(
        "started-in-the-far-future",
        None,
        "a broker does not start at a time far beyond the store's, if anything would end by it",
        "understudy_broker.clock.question",
        swap("wall_ms - latest_ms <= FAR_MS", "latest_ms > 0"),
        _CLOCK,
    ),
    _mutant(
        "any-date-accepted",
        None,
        "a person confirms one date, and no other",
        "understudy_broker.clock.is_accepted",
        swap("<= _ACCEPTED_MS", "<= 1000 * _ACCEPTED_MS"),
        _CLOCK,
    ),
    _mutant(
        "new-store-in-1970",
        None,
        "a new store is not begun at an impossible time",
        "understudy_broker.clock.question",
        swap("wall_ms >= EARLIEST_MS", "wall_ms >= 0"),
        _CLOCK,
    ),
    _mutant(
        "date-changed-under-a-lookup",
        None,
        "the date of schedules does not change between a lookup and the sweep that needs it",
        "understudy_broker.core.core.BrokerCore.follow",
        swap("self._ahead_ms = ahead_ms", "self.machine.follow(ahead_ms, self._now)"),
        "core/test_late_lookups.py",
    ),
    _mutant(
        "early-deadlines-by-the-second-welcome",
        None,
        "deadlines of early calls are amended by what the first welcome has told",
        "understudy_broker.clock.PeerClock.synchronize",
        swap("self.unheard_ms is None", "self._base_ns is not None"),
        _CLOCK,
    ),
    _mutant(
        "amended-and-sent-as-they-were",
        None,
        "requests that wait for the first welcome are sent as amended",
        "understudy_broker.link.session.LinkSession.amend",
        drop(
            "self.outgoing = [self._open_requests[message.corr].request "
            "if type(message) is Request else message for message in self.outgoing]"
        ),
        "link/test_session.py",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_CLOCKS,)
