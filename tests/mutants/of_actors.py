"""Faults of the node: its core, the interpreter, and the pool that keeps processes alive."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_NODE: Final = "node/test_core.py"
_REQUESTS: Final = "interpreter/test_requests.py"
_REPLAY: Final = "interpreter/test_replay.py"
_POOL: Final = "processes/test_restart.py"
_EXECUTOR: Final = "executor/test_executor.py"
_LISTENING: Final = "tests/integration/broker/test_poll_handoff.py"

_NODE_CORE: Final = (
    _mutant(
        "credit-not-used-up",
        18,
        "what was handed over counts against what was announced",
        "understudy_actors.node.core.NodeCore.receive",
        swap("self._received += 1\nself._begin", "self._begin"),
        _NODE,
    ),
    _mutant(
        "waiting-uses-credit",
        18,
        "what waits uses no credit, so recursion cannot deadlock",
        "understudy_actors.node.suspension.Suspension._settle_phase",
        drop("self._leave_running(activation)"),
        _NODE,
    ),
    _mutant(
        "invoked-twice-runs-twice",
        None,
        "the same version is performed once",
        "understudy_actors.node.core.NodeCore._begin",
        swap("old.version >= version", "old.version > version"),
        _NODE,
    ),
    _mutant(
        "revoked-in-vain",
        10,
        "a node that has lost a task stops with it",
        "understudy_actors.node.core.NodeCore.receive",
        swap("activation.version == message.version", "activation.version < message.version"),
        _NODE,
    ),
    _mutant(
        "lost-claims-kept",
        10,
        "what the broker gave to others is dropped",
        "understudy_actors.node.core.NodeCore.connected",
        swap("id in lost", "id in ()"),
        _NODE,
    ),
    _mutant(
        "claims-what-it-suspended",
        None,
        "a node claims the leases that it has, and no other",
        "understudy_actors.node.core.NodeCore.claims",
        swap("() if a.phase is not Phase.SUSPENDED", "()"),
        _NODE,
    ),
    _mutant(
        "missed-while-away",
        None,
        "after a reconnect a node asks for what settled meanwhile",
        "understudy_actors.node.core.NodeCore.connected",
        drop("self._catch_up(activation)"),
        _NODE,
    ),
    _mutant(
        "warm-while-away",
        None,
        "nothing suspended is warm after its node was cut off: it was told of nothing",
        "understudy_actors.node.core.NodeCore.disconnected",
        swap("list(self._warm)", "()"),
        _NODE,
    ),
    _mutant(
        "strangers-not-watched-again",
        None,
        "after a reconnect a node watches again what others made",
        "understudy_actors.node.core.NodeCore.connected",
        swap("id in self._strangers", "id in ()"),
        _NODE,
    ),
    _mutant(
        "late-result-performed",
        10,
        "what ends after its task was lost is ignored",
        "understudy_actors.node.core.NodeCore._stepped",
        swap(
            "run.routine.dropped or self.activations.get(activation.id) is not activation",
            "self.activations.get(activation.id) is None",
        ),
        _NODE,
        "node/test_schedules.py",
    ),
    _mutant(
        "retried-without-end",
        None,
        "a release because the function raised says so, or retries never end",
        "understudy_actors.node.core.NodeCore._retry",
        swap("failed=True", "failed=False"),
        _NODE,
    ),
    _mutant(
        "step-retried-without-end",
        None,
        "attempts of a local step are counted",
        "understudy_actors.node.core.NodeCore._retry",
        swap("routine.attempt + 1", "routine.attempt"),
        _NODE,
    ),
    _mutant(
        "attempts-begin-anew-elsewhere",
        None,
        "attempts go on counting on another node",
        "understudy_actors.node.core.NodeCore._begin",
        swap("failures + 1", "1"),
        _NODE,
    ),
    _mutant(
        "replayed-without-its-preload",
        None,
        "another node goes on from the preload: stored steps are not repeated",
        "understudy_actors.node.core.NodeCore._begin",
        swap(
            "    activation.remember(preload)\n"
            "self.activations[promise.id] = activation\n"
            "self._running",
            "    self.activations[promise.id] = activation\nself._running",
        ),
        _NODE,
    ),
    _mutant(
        "suspends-with-open-fences",
        None,
        "a lease is not given up before the store has answered what depends on it",
        "understudy_actors.node.suspension.Suspension._suspend",
        swap("if activation.fences_open", "if activation.fences_open < 0"),
        _NODE,
        "node/test_schedules.py",
    ),
    _mutant(
        "suspend-found-settled-and-sleeps",
        12,
        "a suspend that is answered 300 goes on at once",
        "understudy_actors.node.suspension.Suspension._suspended",
        drop("run.routine.learn(record)"),
        _NODE,
    ),
    _mutant(
        "warm-without-bound",
        None,
        "only so many suspended activations stay in memory",
        "understudy_actors.node.suspension.Suspension._suspended",
        swap(
            "len(self._warm) > self.config.warm_max",
            "len(self._warm) > 2 * self.config.warm_max",
        ),
        _NODE,
    ),
    _mutant(
        "refused-fence-goes-on",
        10,
        "a node whose fence is refused for its version lets the task go",
        "understudy_actors.node.fencing.Fencing._refused",
        swap("status in (404, 409)", "status == 404"),
        _NODE,
    ),
    _mutant(
        "end-before-what-was-started",
        None,
        "what a function has started is stored before its result, which ends its lease",
        "understudy_actors.node.fencing.Fencing._fulfill",
        drop("self._send_fences()"),
        _NODE,
    ),
    _mutant(
        "refused-result-for-ever",
        None,
        "a result that is refused becomes an error, so that the call ends",
        "understudy_actors.node.fencing.Fencing._fulfilled",
        swap("status not in (400, 413)", "status"),
        _NODE,
    ),
    _mutant(
        "other-calls-id-taken",
        None,
        "an id that belongs to another call is no result of this one",
        "understudy_actors.node.fences.mismatch",
        swap(
            "(kinds[0] == kinds[1] and same_function) or HEADER_KIND not in recorded",
            "kinds[0] == kinds[1] or HEADER_KIND not in recorded",
        ),
        _NODE,
    ),
)

_INTERPRETER: Final = (
    _mutant(
        "stored-step-runs-again",
        None,
        "a replay runs no step whose result is stored",
        "understudy_actors.interpreter.routine.Routine._start_local",
        drop("elif record.settled:\n    return"),
        _REPLAY,
        _REQUESTS,
    ),
    _mutant(
        "stored-call-made-again",
        None,
        "a replay makes no call that is in its history",
        "understudy_actors.interpreter.routine.Routine.issue",
        swap("elif record is None", "else"),
        _REPLAY,
        _REQUESTS,
    ),
    _mutant(
        "ends-before-its-children",
        None,
        "a parent does not settle before the calls that it started",
        "understudy_actors.interpreter.routine.Routine._end",
        swap("not self.attached", "outcome is not None"),
        _REQUESTS,
    ),
    _mutant(
        "child-outlives-its-parent",
        None,
        "no child's deadline exceeds its parent's",
        "understudy_actors.interpreter.child_commands._timeout_at",
        swap('at if spec.kind == "detached" else min(at, routine.record.timeout_at)', "at"),
        _REQUESTS,
    ),
    _mutant(
        "detached-in-its-callers-graph",
        None,
        "a detached call is a root of its own",
        "understudy_actors.interpreter.child_commands.create_command",
        drop("del tags[TAG_ORIGIN]"),
        _REQUESTS,
    ),
    _mutant(
        "workflow-retried",
        None,
        "only a leaf is run again: what has made calls is replayed instead",
        "understudy_actors.interpreter.routine.Routine._raised",
        swap("self.calls == 0 and self.function.kind", "self.function.kind"),
        _REQUESTS,
    ),
    _mutant(
        "changed-code-unnoticed",
        None,
        "code that no longer matches its history fails",
        "understudy_actors.interpreter.determinism.check",
        swap("if (headers.get", "if spec.site or (headers.get"),
        _REQUESTS,
        "tests/unit/sdk/testing/test_replays.py",
    ),
    _mutant(
        "changed-code-caught",
        None,
        "a mismatch ends the function, which cannot catch it",
        "understudy_actors.interpreter.routine.Routine._run",
        swap("raised is self.mismatch", "raised is None"),
        _REQUESTS,
        "tests/unit/sdk/testing/test_replays.py",
    ),
    _mutant(
        "shorter-code-unnoticed",
        None,
        "a recorded call that the code no longer makes is a mismatch",
        "understudy_actors.interpreter.replay.ReplayState.never_made",
        swap("not self.replaying", "self.replaying != {''}"),
        _REQUESTS,
        "tests/unit/sdk/testing/test_replays.py",
    ),
    _mutant(
        "race-decided-anew",
        None,
        "who won a race is stored before anyone acts on it",
        "understudy_actors.interpreter.yields._decide_race",
        swap(
            "race_commands(routine, race.spec, winner)",
            "race_commands(routine, race.spec, winner)[:1]",
        ),
        _REQUESTS,
    ),
    _mutant(
        "race-won-by-the-last",
        None,
        "the one that settled first wins",
        "understudy_actors.interpreter.yields._decide_race",
        swap("min(settled)", "max(settled)"),
        _REQUESTS,
    ),
    _mutant(
        "race-cancels-its-winner",
        None,
        "a race cancels its losers",
        "understudy_actors.interpreter.yields._race_won",
        swap("n != winner", "n == winner"),
        _REQUESTS,
    ),
    _mutant(
        "settled-counts-twice",
        None,
        "a settlement that is told twice counts once",
        "understudy_actors.interpreter.wait.Wait.hit",
        drop("del self.remaining[id]"),
        _REQUESTS,
        _NODE,
        "node/test_schedules.py",
    ),
    _mutant(
        "woken-by-one-of-many",
        None,
        "who waits for any of many is woken by each of them",
        "understudy_actors.interpreter.wait.Wait.wake_on",
        swap("ids[-1:] if self.need >= len(ids) else ids", "ids[-1:]"),
        _REQUESTS,
        _NODE,
    ),
    _mutant(
        "calls-not-yielded-are-lost",
        None,
        "a call that nobody yields is made all the same",
        "understudy_actors.interpreter.routine.Routine.issue_deferred",
        swap('spec.kind != "sleep"', 'spec.kind == "lfi"'),
        _REQUESTS,
    ),
    _mutant(
        "time-of-the-replay",
        None,
        "ctx.time is the same in every replay",
        "understudy_actors.interpreter.replay.ReplayState.consume",
        swap("self.time_ms = record.settled_at", "self.time_ms += 1"),
        _REQUESTS,
        _REPLAY,
    ),
    _mutant(
        "asks-without-end",
        None,
        "a function that asks for very much pauses until the broker has caught up",
        "understudy_actors.interpreter.routine.Routine._hand_out",
        swap("self._sent - self._answered <= UNANSWERED_MAX", "self._sent >= self._answered"),
        _REQUESTS,
    ),
)

_PROCESSES: Final = (
    _mutant(
        "restarted-without-limit",
        None,
        "restarts per time have a limit, after which the failure is seen",
        "understudy_actors.processes.restart.RestartHistory.exited",
        swap(
            "len(self._restarted_at) >= policy.max_restarts",
            "len(self._restarted_at) > 2 * policy.max_restarts",
        ),
        _POOL,
    ),
    _mutant(
        "restarted-without-delay",
        None,
        "the delay grows with each death in a row",
        "understudy_actors.processes.restart.RestartHistory._next_delay_s",
        drop("self._deaths_in_a_row += 1"),
        _POOL,
    ),
)

_WHO_LISTENS: Final = (
    _mutant(
        "submitted-to-who-listens",
        None,
        "who waits for messages is called for what others submit",
        "understudy_actors.executor.worker_pool.WorkerPool.submit",
        drop("elif self._active == 1:\n    self._interrupt()"),
        _EXECUTOR,
    ),
    _mutant(
        "nudge-forgets-who-listens",
        None,
        "before another thread is put to work, who listens comes",
        "understudy_actors.executor.worker_pool.WorkerPool.nudge",
        swap("stuck and not self._interrupt()", "stuck"),
        _EXECUTOR,
    ),
    _mutant(
        "heard-and-still-waiting",
        None,
        "who has heard something needs not be called for what it brings",
        "understudy_actors.executor.worker_pool.WorkerPool._heard",
        drop("self._comes()"),
        _EXECUTOR,
    ),
    _mutant(
        "listens-on-after-the-end",
        None,
        "who does not listen any more is not called",
        "understudy_actors.executor.worker_pool.WorkerPool._listens",
        drop("self._comes()"),
        _EXECUTOR,
    ),
    _mutant(
        "who-listens-not-on-its-way",
        None,
        "who has heard something is on its way to what it has heard: nobody else is called",
        "understudy_actors.executor.worker_pool.WorkerPool._comes",
        drop("self._woken += waited"),
        _EXECUTOR,
    ),
    _mutant(
        "who-listens-counted-as-on-its-way",
        None,
        "who still listens does not see what is submitted: where all others are held up, it waits",
        "understudy_actors.executor.worker_pool.WorkerPool._listens",
        swap(
            "    True\n"
            "heard = listening.poll(self._heard)\n"
            "with self._lock:\n"
            "    self._comes()\n"
            "    self._someone_listens = False\n"
            "    self._woken -= 1",
            "    True\n"
            "    self._woken += 1\n"
            "heard = listening.poll(self._heard)\n"
            "with self._lock:\n"
            "    self._comes()\n"
            "    self._someone_listens = False\n"
            "    self._woken -= 2",
        ),
        _EXECUTOR,
    ),
    _mutant(
        "coroutines-not-watched",
        None,
        "what blocks the coroutines is named, also where none ran when the node started",
        "understudy_actors.node.shell.NodeService._watch_coroutines",
        drop("self._watch.set()"),
        "tests/integration/sdk/test_runtime_local.py",
    ),
    _mutant(
        "two-listen",
        None,
        "one thread listens at a time",
        "understudy_actors.executor.worker_pool.WorkerPool._listens",
        swap("self._ready or self._someone_listens", "self._ready"),
        _EXECUTOR,
    ),
    _mutant(
        "timers-set-off-the-loop",
        None,
        "the node's timers are set on its loop's own thread",
        "understudy_actors.node.shell.NodeService._after",
        swap("threading.get_ident() != self._thread", "self._thread == 0"),
        f"{_LISTENING}::test_who_takes_messages_in_sets_the_nodes_timers_on_its_loop",
    ),
    _mutant(
        "timers-not-asked-for",
        None,
        "whoever takes messages in, the loop learns of what is to happen later",
        "understudy_actors.node.shell.NodeService._after",
        drop("if self._lacks_pulse():\n    self._soon(self._after)"),
        f"{_LISTENING}::test_who_takes_messages_in_sets_the_nodes_timers_on_its_loop",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_NODE_CORE, *_INTERPRETER, *_PROCESSES, *_WHO_LISTENS)
