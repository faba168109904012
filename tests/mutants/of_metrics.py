"""Faults of metrics and health: what is counted, what is shown, and what is taken for healthy."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit").mutant
_TALLY: Final = "broker/core/test_call_tally.py"
_SURVEY: Final = "broker/core/test_survey.py"
_TEXT: Final = "broker/monitoring/test_exposition.py"
_BLOCKAGES: Final = "actors/executor/test_blockages.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "calls-of-strangers-unbounded",
        None,
        "the number of groups and functions that are counted by themselves is bounded",
        "understudy_broker.core.call_tally.CallTally._pair",
        drop("key = OTHER, OTHER"),
        _TALLY,
    ),
    _mutant(
        "steps-are-calls",
        None,
        "what has no task is no call",
        "understudy_broker.core.call_tally.CallTally.take",
        swap("settled_at is None or row.task is None", "settled_at is None"),
        _TALLY,
    ),
    _mutant(
        "deaths-uncounted",
        None,
        "attempts of lost nodes are counted",
        "understudy_broker.core.membership.Membership._count_died",
        drop('self._metrics.count_attempts(group_of(task.target), "died")'),
        _SURVEY,
    ),
    _mutant(
        "labels-unescaped",
        None,
        "any name is read as it was",
        "understudy_broker.monitoring.exposition._escaped",
        swap("value.isascii() and value.isidentifier()", "value.isascii()"),
        _TEXT,
    ),
    _mutant(
        "fork-keeps-the-port",
        None,
        "a forked child does not keep the port of a listener",
        "understudy_broker.monitoring.listener.Listener.close_copy",
        drop("self._socket.close()"),
        "broker/monitoring/test_listener.py",
    ),
    _mutant(
        "progress-is-no-progress",
        None,
        "workers that begin functions are not blocked",
        "understudy_actors.executor.blockages.Blockages.look",
        swap("not workers.is_full or workers.begun != self._begun", "not workers.is_full"),
        _BLOCKAGES,
    ),
    _mutant(
        "blocked-loop-unseen",
        None,
        "a loop that a function blocks is told of",
        "understudy_actors.executor.async_loop.AsyncLoop.blocked_s",
        swap("not self._is_responsive", "self._is_responsive"),
        _BLOCKAGES,
    ),
)
