"""Faults of replays: rehearsals that say too much, or too little, and debugged calls."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk/replays").mutant
_REHEARSER: Final = "test_rehearser.py"
_REHEARSAL: Final = "test_rehearsal.py"
_STOPS: Final = "test_stops.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "replay-performs-a-step",
        None,
        "a replay performs no step that the record lacks",
        "understudy.replays.steps._RunReplay._play_step",
        swap("if not history:", "if history is not None and not history:"),
        _REHEARSER,
    ),
    _mutant(
        "rehearsal-blind-inside-steps",
        None,
        "a mismatch inside a step under way is one of the call",
        "understudy.replays.steps._RunReplay._play_step",
        drop("self.mismatch = step.mismatch"),
        _REHEARSER,
    ),
    _mutant(
        "rehearsal-without-end",
        None,
        "a function that hangs is not tried again and again",
        "understudy.replays.rehearser.Rehearser.rehearse",
        drop("self._hangs[function] += 1"),
        _REHEARSER,
    ),
    _mutant(
        "rehearsal-passes-what-it-does-not-know",
        None,
        "a pipeline hears of calls of which nothing is known",
        "understudy.replays.rehearsal.Rehearsal.exit_code",
        swap("EXIT_UNKNOWN if self.unknown else EXIT_GO_ON", "EXIT_GO_ON"),
        _REHEARSAL,
    ),
    _mutant(
        "stepback-to-the-same-step",
        None,
        "sb at a step goes to the one before",
        "understudy.replays.stops.Stops.back",
        swap("self.made[:-1] if self._is_at_step else self.made", "self.made"),
        _STOPS,
    ),
)
