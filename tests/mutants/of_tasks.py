"""Faults of coroutines that start tasks: strands, waits, the state of a run that is held."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_TASKS: Final = "executor/test_tasks.py"
_CHANGED: Final = "executor/test_changed_tasks.py"
_WAITING: Final = "executor/test_waiting_tasks.py"
_FAILING: Final = "executor/test_failing_tasks.py"
_HELD: Final = "node/test_held.py"
_STRANDS: Final = "understudy_actors.interpreter.strands.Strand"
_RUN: Final = "understudy_actors.executor.coroutine_run.CoroutineRun"
_CORE: Final = "understudy_actors.node.core.NodeCore"
_STATE: Final = "understudy_actors.node.state.NodeState"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "tasks-in-one-strand",
        None,
        "each task numbers its calls by itself",
        f"{_RUN}.task_started",
        swap("creator.strand.branch(name)", "creator.strand"),
        _TASKS,
    ),
    _mutant(
        "tasks-of-one-name",
        None,
        "tasks of one function are told apart by their number",
        f"{_STRANDS}.branch",
        swap("self._tasks.get(name, 0) + 1", "1"),
        _TASKS,
    ),
    _mutant(
        "random-numbers-of-the-run",
        None,
        "each task has random numbers of its own",
        f"{_STRANDS}.random",
        swap("random.Random(self.id)", "random.Random(0)"),
        _TASKS,
    ),
    _mutant(
        "time-of-the-run",
        None,
        "each task sees the time of what it has seen settled",
        "understudy_actors.interpreter.replay.ReplayState.consume",
        swap("self.strand.see", "self.own.see"),
        _TASKS,
    ),
    _mutant(
        "news-in-an-open-step-unheard",
        None,
        "what settles in the middle of a step wakes the task that waits for it",
        f"{_RUN}._hear_news",
        swap("self._routine.on_news = self._on_news", "pass"),
        _WAITING,
    ),
    _mutant(
        "mismatch-thrown-into-a-task",
        None,
        "a task cannot catch that the code has changed",
        f"{_RUN}._ask",
        swap("error is not mismatch", "True"),
        _CHANGED,
    ),
    _mutant(
        "step-ends-under-a-time-limit",
        None,
        "a wait that a time limit may interrupt keeps the step open, and with it the lease",
        f"{_RUN}._step_until_done",
        swap("self._home.events.has_deadline()", "False"),
        _WAITING,
    ),
    _mutant(
        "tasks-outrun-the-broker",
        None,
        "tasks wait while too much of what they have asked for is unanswered",
        f"{_RUN}.steps_of",
        swap("routine.is_overdrawn and not self._is_over()", "False"),
        _WAITING,
    ),
    _mutant(
        "tasks-survive-a-drop",
        None,
        "the tasks of a run that has ended, or is dropped, are canceled",
        f"{_RUN}._step_until_done",
        drop("self._home.events.cancel(self._tasks)"),
        _FAILING,
    ),
    _mutant(
        "renamed-task-calls-anew",
        None,
        "a task that was renamed makes none of its calls a second time",
        "understudy_actors.executor.doubtful_calls.DoubtfulCalls.check",
        swap("not self._recorded.all_begun", "False"),
        _CHANGED,
    ),
    _mutant(
        "new-task-parks-its-run",
        None,
        "a task without history waits until the recorded ones have begun",
        "understudy_actors.executor.doubtful_calls.DoubtfulCalls.hold",
        drop("yield from event.wait().__await__()"),
        _CHANGED,
    ),
    _mutant(
        "handle-awaited-with-credit",
        None,
        "a coroutine that awaits a handle uses no credit meanwhile",
        f"{_RUN}._count_waiting",
        drop("self._waiting += more"),
        _WAITING,
    ),
    _mutant(
        "left-behind-and-calling",
        None,
        "a task that outlives its function makes no calls",
        f"{_RUN}.steps_of",
        swap("self._is_over() or not routine.alive", "self._is_over()"),
        _FAILING,
    ),
    _mutant(
        "end-of-the-process-ends-the-loop",
        None,
        "a task that raises SystemExit does not end the loop of all others",
        "understudy_actors.executor.event_loops.AsyncioLoop._run_until",
        swap("suppress(SystemExit, KeyboardInterrupt)", "suppress()"),
        _FAILING,
    ),
    _mutant(
        "calls-of-tasks-forgotten",
        None,
        "a function whose tasks have made calls is not tried again as if it were a leaf",
        "understudy_actors.interpreter.replay.ReplayState.has_called",
        swap("bool(self.own.calls_made) or self.own.tasks_called", "bool(self.own.calls_made)"),
        _FAILING,
    ),
    _mutant(
        "held-uses-credit",
        None,
        "a run whose tasks wait for promises uses no credit",
        f"{_STATE}.hold",
        swap("self._held_by_tasks >= HELD_MAX", "True"),
        _HELD,
    ),
    _mutant(
        "held-without-bound",
        None,
        "only so many runs are held without credit",
        f"{_STATE}.hold",
        swap("self._held_by_tasks >= HELD_MAX", "False"),
        _HELD,
    ),
    _mutant(
        "held-and-counted-for-ever",
        None,
        "a run that goes on makes room for another one that is held",
        f"{_STATE}.wake",
        drop("self._held_by_tasks -= 1"),
        _HELD,
    ),
    _mutant(
        "held-and-suspended",
        None,
        "a run that only its loop can wake is not suspended",
        "understudy_actors.node.suspension.Suspension.wait_if_idle",
        swap("tasks_wait or run.waits", "False"),
        _HELD,
    ),
    _mutant(
        "held-nowhere-and-waiting",
        None,
        "a run that cannot be held is given back instead of waiting with credit",
        "understudy_actors.node.suspension.Suspension.wait_if_idle",
        drop("self._give_back(activation)"),
        _HELD,
    ),
    _mutant(
        "news-before-the-first-task-lost",
        None,
        "what has settled before a function starts its first task is known to its tasks",
        f"{_RUN}._hear_news",
        drop("self._routine.absorb()"),
        _WAITING,
    ),
    _mutant(
        "refusal-in-the-wrong-task",
        None,
        "a refused call fails the task that awaits it, and no other",
        "understudy_actors.interpreter.child_calls.ChildCalls.make_deferred",
        swap("alone or spec is yielded", "True"),
        _FAILING,
    ),
    _mutant(
        "held-while-leaving",
        None,
        "a node that leaves gives the runs that are held to others",
        f"{_CORE}.stop_serving",
        swap("activation.phase is Phase.HELD", "False"),
        _HELD,
    ),
    _mutant(
        "interrupted-and-uncounted",
        None,
        "a step that a time limit has begun is counted like any other",
        f"{_CORE}._on_report",
        swap("run.waits or not run.scheduled", "run.waits"),
        _HELD,
    ),
)
