"""Faults of progress and cancellation: whom a broker hears, what a function hears, and when."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_broker = Area("tests/unit/broker").mutant
_actors = Area("tests/unit/actors").mutant
_sdk = Area("tests/unit/sdk").mutant
_BOOK: Final = "core/test_progress.py"
_NODE: Final = "node/test_progress.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _broker(
        "progress-of-a-task-that-another-holds",
        None,
        "a session tells only of tasks that it holds",
        "understudy_broker.core.progress.ProgressBook.take",
        swap("self._machine.view.holds(session.pid, entry.id, entry.version)", "True"),
        _BOOK,
    ),
    _broker(
        "progress-of-an-earlier-attempt",
        None,
        "what an earlier attempt has said is not shown of the next one",
        "understudy_broker.core.progress.ProgressBook.of",
        swap("told.version != task.version", "not told.version"),
        _BOOK,
    ),
    _actors(
        "progress-news-that-nobody-takes",
        None,
        "news after a look causes another look",
        "understudy_actors.node.progress.ProgressReports.take",
        drop("self._is_told = False"),
        _NODE,
    ),
    _actors(
        "dropped-and-not-told",
        None,
        "a function whose task is lost or canceled can see it",
        "understudy_actors.node.state.NodeState.drop",
        drop("cancel(run.routine)"),
        _NODE,
    ),
    _actors(
        "step-canceled-and-not-told",
        None,
        "a step that is canceled alone can see it",
        "understudy_actors.node.settlements.Settlements.learn",
        drop("cancel(step.routine)"),
        _NODE,
    ),
    _actors(
        "callback-of-a-run-that-was-canceled-before",
        None,
        "who asks to be told after the cancel is told at once",
        "understudy_actors.interpreter.signals.call_when_canceled",
        swap("run.canceled and signals.remove(callback)", "False"),
        "interpreter/test_signals.py",
    ),
    _sdk(
        "progress-text-with-seal-keys",
        None,
        "with seal keys, no text that may be made of values leaves the process",
        "understudy.client.peer.Peer._tell_progress",
        swap("self._sealed is not None", "self._sealed is True"),
        "client/test_peer.py",
    ),
    _sdk(
        "progress-to-a-broker-that-does-not-take-it",
        None,
        "a broker of an earlier release is sent nothing that it does not know",
        "understudy.client.peer.Peer._tell_progress",
        swap("welcome.takes_progress and link.connected", "link.connected"),
        "client/test_peer.py",
    ),
)
