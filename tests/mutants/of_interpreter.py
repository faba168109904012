"""Faults of the interpreter."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_TASKS: Final = "node/test_tasks.py"
_SUSPENSION: Final = "node/test_suspension.py"
_SCHEDULES: Final = "node/test_schedules.py"
_CALLS: Final = "interpreter/test_calls.py"
_COMBINATORS: Final = "interpreter/test_combinators.py"
_JOINS: Final = "interpreter/test_joins.py"
_ERRORS: Final = "interpreter/test_errors.py"
_ENDING: Final = "interpreter/test_ending.py"
_DETERMINISM: Final = "interpreter/test_determinism.py"
_FLOW_CONTROL: Final = "interpreter/test_flow.py"
_REPLAY: Final = "interpreter/test_replay.py"
_REPLAYS_OF_HISTORIES: Final = "tests/unit/sdk/testing/test_replays.py"
_VARIABLES: Final = "interpreter/test_variables.py"

_INTERPRETER: Final = (
    _mutant(
        "stored-local-call-runs-again",
        None,
        "a replay runs no local call whose result is stored",
        "understudy_actors.interpreter.child_calls.ChildCalls._start_local",
        drop("elif record.settled:\n    return"),
        _REPLAY,
        _DETERMINISM,
    ),
    _mutant(
        "stored-call-made-again",
        None,
        "a replay makes no call that is in its history",
        "understudy_actors.interpreter.child_calls.ChildCalls.make",
        swap("elif record is None", "else"),
        _REPLAY,
        _DETERMINISM,
    ),
    _mutant(
        "ends-before-its-children",
        None,
        "a parent does not settle before the calls that it started",
        "understudy_actors.interpreter.routine.Routine._end",
        swap("if replay.attached", "if replay.attached is None"),
        _ENDING,
        _CALLS,
    ),
    _mutant(
        "child-outlives-its-parent",
        None,
        "no child's deadline exceeds its parent's",
        "understudy_actors.interpreter.child_commands.create_command",
        swap('TIME_MS_MAX if spec.kind == "detached" else frame.timeout_at', "TIME_MS_MAX"),
        _ENDING,
    ),
    _mutant(
        "detached-in-its-callers-graph",
        None,
        "a detached call is a root of its own",
        "understudy_actors.interpreter.child_commands.call_tags",
        swap(
            'if spec.kind != "detached":\n    tags[TAG_ORIGIN]',
            "if spec.kind:\n    tags[TAG_ORIGIN]",
        ),
        _CALLS,
    ),
    _mutant(
        "workflow-retried",
        None,
        "only a leaf is retried: a function that has made calls would be replayed to the same end",
        "understudy_actors.interpreter.routine.Routine._raised",
        swap("not self.replay.has_called", "self.replay.has_called >= 0"),
        _ERRORS,
    ),
    _mutant(
        "code-of-a-result-ends-the-thread",
        None,
        "whatever a result's class raises while it is encoded is the failure of the call",
        "understudy_actors.interpreter.routine.Routine._returned",
        swap("except BaseException", "except Exception"),
        _ERRORS,
    ),
    _mutant(
        "changed-code-unnoticed",
        None,
        "a function whose code no longer matches its history is parked",
        "understudy_actors.interpreter.determinism.difference",
        swap("if (same_id", "if spec.site or (same_id"),
        _DETERMINISM,
        _REPLAYS_OF_HISTORIES,
    ),
    _mutant(
        "other-id-unnoticed",
        None,
        "a call with an id of its own is compared with the one that is recorded in its place",
        "understudy_actors.interpreter.replay.ReplayState._check_place",
        swap(
            "self.placed.get(place) or self.known.get(place)",
            "self.known.get(spec.id)",
        ),
        _DETERMINISM,
    ),
    _mutant(
        "changed-code-caught",
        None,
        "a mismatch ends the function, which cannot catch it",
        "understudy_actors.interpreter.routine.Routine._run",
        swap("raised is self.replay.mismatch", "raised is None"),
        _DETERMINISM,
        _REPLAYS_OF_HISTORIES,
    ),
    _mutant(
        "shorter-code-unnoticed",
        None,
        "a recorded call that the code no longer makes is a mismatch",
        "understudy_actors.interpreter.routine.Routine._end",
        swap("mismatch is not None", "mismatch is not None and not self.id"),
        _DETERMINISM,
        _REPLAYS_OF_HISTORIES,
    ),
    _mutant(
        "race-won-elsewhere-is-over-at-once",
        None,
        "a race that the history has decided waits for the value of its winner",
        "understudy_actors.interpreter.joins.JoinWait._arm",
        swap("self._arm_decided(join, join.parts[join.winner])", "self._end(join)"),
        _JOINS,
    ),
    _mutant(
        "race-decided-anew",
        None,
        "the winner of a race is stored before anyone acts on it",
        "understudy_actors.interpreter.joins.JoinWait._decide",
        drop("self._calls.settle_race(spec, race.winner)"),
        _COMBINATORS,
    ),
    _mutant(
        "race-won-by-the-last",
        None,
        "the promise that settled first wins a race",
        "understudy_actors.interpreter.joins.JoinWait._decide",
        swap("min(settled)", "max(settled)"),
        _COMBINATORS,
    ),
    _mutant(
        "race-cancels-its-winner",
        None,
        "a race cancels its losers",
        "understudy_actors.interpreter.joins.JoinWait._end",
        swap("place != race.winner", "place == race.winner"),
        _COMBINATORS,
    ),
    _mutant(
        "all-in-a-race-settles-with-its-first",
        None,
        "an all inside a race settles when its last promise does",
        "understudy_actors.interpreter.joins.JoinWait._settled_at",
        swap("max(settled, default=0)", "min(settled, default=0)"),
        _JOINS,
    ),
    _mutant(
        "race-in-all-sleeps-on",
        None,
        "a race that cancels its losers wakes its task although an all around it goes on waiting",
        "understudy_actors.interpreter.joins.JoinWait.wake_on",
        swap("isinstance(part, Join) and part.eager", "False"),
        _JOINS,
    ),
    _mutant(
        "failure-kept-though-not-asked",
        None,
        "all raises a failure unless it is asked to return it",
        "understudy_actors.interpreter.joins.JoinWait._value",
        swap("not join.request.return_exceptions", "False"),
        _COMBINATORS,
    ),
    _mutant(
        "settled-counts-twice",
        None,
        "a settlement that arrives twice counts once",
        "understudy_actors.interpreter.wait.Wait.hit",
        drop("del self.remaining[id]"),
        _COMBINATORS,
        _TASKS,
        _SCHEDULES,
    ),
    _mutant(
        "woken-by-one-of-many",
        None,
        "a wait for any of many promises is woken by each of them",
        "understudy_actors.interpreter.wait.Wait.wake_on",
        swap("ids[-1:] if self.need >= len(ids) else ids", "ids[-1:]"),
        _COMBINATORS,
        _SUSPENSION,
    ),
    _mutant(
        "calls-not-yielded-are-lost",
        None,
        "a call that is not yielded is still made",
        "understudy_actors.interpreter.child_calls.ChildCalls.make_deferred",
        swap('spec.kind == "sleep"', 'spec.kind != "lfi"'),
        _CALLS,
    ),
    _mutant(
        "time-of-the-replay",
        None,
        "ctx.time is the same in every replay",
        "understudy_actors.interpreter.strands.Strand.see",
        swap("self.time_ms = settled_at", "self.time_ms += 1"),
        _DETERMINISM,
        _REPLAY,
    ),
    _mutant(
        "calls-without-bound",
        None,
        "a function that makes very many calls pauses until the broker has caught up",
        "understudy_actors.interpreter.routine.Routine._hand_out",
        swap("self.sent - self._answered <= UNANSWERED_MAX", "self.sent >= self._answered"),
        _FLOW_CONTROL,
    ),
    _mutant(
        "variables-of-another-run",
        None,
        "a run never sees another's context variables",
        "understudy_actors.interpreter.routine.Routine._enter",
        swap("self.variables.run(function, *args)", "function(*args)"),
        _VARIABLES,
    ),
    _mutant(
        "variables-shared-with-steps",
        None,
        "a step has a copy of its caller's context variables",
        "understudy_actors.interpreter.routine.Routine.__init__",
        swap("else variables.copy()", "else variables"),
        _VARIABLES,
    ),
    _mutant(
        "variables-not-inherited",
        None,
        "each attempt of a step begins with its caller's context variables",
        "understudy_actors.interpreter.routine.Routine.next_attempt",
        swap("variables=self._inherited", "variables=self.variables"),
        _VARIABLES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_INTERPRETER,)
