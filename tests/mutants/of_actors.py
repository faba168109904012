"""Faults of the node: its core, the interpreter, and the pool that keeps processes alive."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_TASKS: Final = "node/test_tasks.py"
_SUSPENSION: Final = "node/test_suspension.py"
_LOST_TASKS: Final = "node/test_lost_tasks.py"
_RECONNECT: Final = "node/test_reconnect.py"
_CREDIT: Final = "node/test_credit.py"
_RETRIES: Final = "node/test_retries.py"
_SCHEDULES: Final = "node/test_schedules.py"
_CALLS: Final = "interpreter/test_calls.py"
_COMBINATORS: Final = "interpreter/test_combinators.py"
_ERRORS: Final = "interpreter/test_errors.py"
_ENDING: Final = "interpreter/test_ending.py"
_DETERMINISM: Final = "interpreter/test_determinism.py"
_FLOW_CONTROL: Final = "interpreter/test_flow.py"
_REPLAY: Final = "interpreter/test_replay.py"
_REPLAYS_OF_HISTORIES: Final = "tests/unit/sdk/testing/test_replays.py"
_POOL: Final = "processes/test_restart.py"
_POLLING: Final = "executor/test_worker_polling.py"
_HANDOFF: Final = "tests/integration/broker/test_poll_handoff.py"

_NODE_CORE: Final = (
    _mutant(
        "credit-not-used-up",
        18,
        "tasks that were handed over count against the announced credit",
        "understudy_actors.node.credit.CreditAccount.use",
        swap("self._received += 1", "self._received += 0"),
        _CREDIT,
        _RECONNECT,
    ),
    _mutant(
        "waiting-uses-credit",
        18,
        "waiting activations use no credit, so recursion cannot deadlock",
        "understudy_actors.node.suspension.Suspension.wait_if_idle",
        swap("state.leave_running(activation, Phase.WAITING)", "activation.phase = Phase.WAITING"),
        _SUSPENSION,
        _CREDIT,
    ),
    _mutant(
        "invoked-twice-runs-twice",
        None,
        "the same version is performed once",
        "understudy_actors.node.intake.Intake.begin",
        swap("old.version >= version", "old.version > version"),
        _TASKS,
    ),
    _mutant(
        "revoked-in-vain",
        10,
        "a node stops performing a task that it has lost",
        "understudy_actors.node.core.NodeCore.receive",
        swap("activation.version == message.version", "activation.version < message.version"),
        _LOST_TASKS,
    ),
    _mutant(
        "lost-claims-kept",
        10,
        "tasks that the broker gave to others are dropped",
        "understudy_actors.node.core.NodeCore.connected",
        swap("id in lost", "id in ()"),
        _RECONNECT,
    ),
    _mutant(
        "claims-suspended-tasks",
        None,
        "a node claims exactly the leases that it has",
        "understudy_actors.node.core.NodeCore.claims",
        swap("() if each.phase is not Phase.SUSPENDED", "()"),
        _RECONNECT,
    ),
    _mutant(
        "missed-while-away",
        None,
        "after a reconnect a node asks for the settlements that it missed",
        "understudy_actors.node.core.NodeCore.connected",
        drop("self._intake.catch_up(activation)"),
        _RECONNECT,
    ),
    _mutant(
        "warm-while-away",
        None,
        "no suspended activation is warm after a disconnect, because nobody told it of settlements",
        "understudy_actors.node.core.NodeCore.disconnected",
        swap("list(state.warm)", "()"),
        _RECONNECT,
    ),
    _mutant(
        "foreign-promises-not-watched-again",
        None,
        "after a reconnect a node watches the promises of other functions again",
        "understudy_actors.node.settlements.Settlements.watch_again",
        swap("id in self._foreign", "id in ()"),
        _RECONNECT,
    ),
    _mutant(
        "late-result-performed",
        10,
        "a step that ends after its task was lost is ignored",
        "understudy_actors.node.core.NodeCore._on_report",
        swap(
            "routine.dropped or activation.dropped", "activation.id not in self.state.activations"
        ),
        _LOST_TASKS,
        _SCHEDULES,
    ),
    _mutant(
        "retried-without-end",
        None,
        "a release after a failure says so, or retries never end",
        "understudy_actors.node.core.NodeCore._retry",
        swap("failed=True", "failed=False"),
        _RETRIES,
    ),
    _mutant(
        "local-call-retried-without-end",
        None,
        "attempts of a local call are counted",
        "understudy_actors.interpreter.routine.Routine.next_attempt",
        swap("self.attempt + 1", "self.attempt"),
        _RETRIES,
    ),
    _mutant(
        "attempts-begin-anew-elsewhere",
        None,
        "attempts go on counting on another node",
        "understudy_actors.node.intake.Intake.begin",
        swap("failures + 1", "1"),
        _RETRIES,
    ),
    _mutant(
        "replayed-without-its-preload",
        None,
        "another node goes on from the preload: stored local calls are not repeated",
        "understudy_actors.node.intake.Intake.begin",
        drop("activation.load(preload)"),
        _SUSPENSION,
    ),
    _mutant(
        "suspends-with-open-fences",
        None,
        "a lease is not given up before the store has answered the fences",
        "understudy_actors.node.suspension.Suspension.suspend",
        swap("if activation.fences_open", "if activation.fences_open < 0"),
        _SUSPENSION,
        _SCHEDULES,
    ),
    _mutant(
        "suspend-found-settled-and-sleeps",
        12,
        "a suspend that is answered 300 goes on at once",
        "understudy_actors.node.suspension.Suspension._on_suspended",
        drop("run.routine.learn(record)"),
        _SUSPENSION,
    ),
    _mutant(
        "warm-without-bound",
        None,
        "a bounded number of suspended activations stays in memory",
        "understudy_actors.node.state.NodeState.keep_warm",
        swap("len(self.warm) > self.config.warm_max", "len(self.warm) > 2 * self.config.warm_max"),
        _SUSPENSION,
    ),
    _mutant(
        "refused-fence-goes-on",
        10,
        "a node whose fence is refused for its version drops the activation",
        "understudy_actors.node.fencing.Fencing.on_refused",
        swap("status in (404, 409)", "status == 404"),
        _LOST_TASKS,
    ),
    _mutant(
        "end-before-started-calls",
        None,
        "the calls that a function made are stored before its result, which ends its lease",
        "understudy_actors.node.fencing.Fencing.fulfill",
        drop("if self._gathered:\n    self.send()"),
        _TASKS,
    ),
    _mutant(
        "refused-result-for-ever",
        None,
        "a result that is refused becomes an error, so that the call ends",
        "understudy_actors.node.fencing.Fencing._on_fulfilled",
        swap("status not in (400, 413)", "status"),
        _TASKS,
    ),
    _mutant(
        "other-calls-id-taken",
        None,
        "the result of another call with the same id is not taken for this call",
        "understudy_actors.node.fence_replies.mismatch",
        swap(
            "(kinds[0] == kinds[1] and same_function) or HEADER_KIND not in recorded",
            "kinds[0] == kinds[1] or HEADER_KIND not in recorded",
        ),
        _TASKS,
    ),
)

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
        swap("self.replay.calls_made == 0", "self.replay.calls_made >= 0"),
        _ERRORS,
    ),
    _mutant(
        "changed-code-unnoticed",
        None,
        "a function whose code no longer matches its history fails",
        "understudy_actors.interpreter.determinism.check",
        swap("if (headers.get", "if spec.site or (headers.get"),
        _DETERMINISM,
        _REPLAYS_OF_HISTORIES,
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
        swap("replay.unmade and not isinstance", "replay.unmade == {''} and not isinstance"),
        _DETERMINISM,
        _REPLAYS_OF_HISTORIES,
    ),
    _mutant(
        "race-decided-anew",
        None,
        "the winner of a race is stored before anyone acts on it",
        "understudy_actors.interpreter.yields._decide_race",
        drop("calls.settle_race(race.spec, winner)"),
        _COMBINATORS,
    ),
    _mutant(
        "race-won-by-the-last",
        None,
        "the promise that settled first wins a race",
        "understudy_actors.interpreter.yields._decide_race",
        swap("min(settled)", "max(settled)"),
        _COMBINATORS,
    ),
    _mutant(
        "race-cancels-its-winner",
        None,
        "a race cancels its losers",
        "understudy_actors.interpreter.yields._race_won",
        swap("place != winner", "place == winner"),
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
        swap('spec.kind != "sleep"', 'spec.kind == "lfi"'),
        _CALLS,
    ),
    _mutant(
        "time-of-the-replay",
        None,
        "ctx.time is the same in every replay",
        "understudy_actors.interpreter.replay.ReplayState.consume",
        swap("self.time_ms = record.settled_at", "self.time_ms += 1"),
        _DETERMINISM,
        _REPLAY,
    ),
    _mutant(
        "calls-without-bound",
        None,
        "a function that makes very many calls pauses until the broker has caught up",
        "understudy_actors.interpreter.routine.Routine._hand_out",
        swap("self._sent - self._answered <= UNANSWERED_MAX", "self._sent >= self._answered"),
        _FLOW_CONTROL,
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

_WORKERS: Final = (
    _mutant(
        "poller-not-interrupted",
        None,
        "the poller is interrupted for a run that another thread submits",
        "understudy_actors.executor.worker_pool.WorkerPool.submit",
        drop("elif self._active == 1 and self._poller_waits:\n    self._call_poller()"),
        _POLLING,
    ),
    _mutant(
        "nudge-forgets-the-poller",
        None,
        "before another worker is put to work, the poller is interrupted",
        "understudy_actors.executor.worker_pool.WorkerPool.nudge",
        drop("if self._poller_waits:\n    self._call_poller()\n    return"),
        _POLLING,
    ),
    _mutant(
        "interrupted-after-the-wait",
        None,
        "a poller whose wait is over is not interrupted for the runs of its messages",
        "understudy_actors.executor.worker_pool.WorkerPool._on_polled",
        drop("self._poller_waits = False"),
        _POLLING,
    ),
    _mutant(
        "polls-on-after-the-end",
        None,
        "a worker that no longer polls is not interrupted",
        "understudy_actors.executor.worker_pool.WorkerPool._poll",
        swap("    self._poller_waits = False\nelse", "    pass\nelse"),
        _POLLING,
    ),
    _mutant(
        "poller-not-coming",
        None,
        "a poller with messages will take their runs, so no other worker is woken",
        "understudy_actors.executor.worker_pool.WorkerPool._on_polled",
        drop("self._coming += 1"),
        _POLLING,
    ),
    _mutant(
        "waiting-poller-coming",
        None,
        "a poller that waits does not see new runs, so it does not count as coming",
        "understudy_actors.executor.worker_pool.WorkerPool._poll",
        swap(
            "    self._has_poller = self._poller_waits = True\nreceived",
            "    self._has_poller = self._poller_waits = True\n    self._coming += 1\nreceived",
        ),
        _POLLING,
    ),
    _mutant(
        "coroutines-not-watched",
        None,
        "a function that blocks the coroutines is named, even if none ran when the node started",
        "understudy_actors.node.shell.NodeService._on_coroutine",
        drop("self._loop.run(self._coroutines_run.set)"),
        "tests/integration/sdk/test_runtime_local.py",
    ),
    _mutant(
        "two-poll",
        None,
        "only one worker polls at a time",
        "understudy_actors.executor.worker_pool.WorkerPool._poll",
        swap("self._ready or self._has_poller", "self._ready"),
        _POLLING,
    ),
    _mutant(
        "timers-set-off-the-loop",
        None,
        "the node's timers are set on its loop's own thread",
        "understudy_actors.node.shell.NodeService._set_events",
        swap("self._loop.run(self._ticks_needed.set)", "self._ticks_needed.set()"),
        f"{_HANDOFF}::test_a_worker_sets_the_nodes_timers_through_the_loop",
    ),
    _mutant(
        "timers-not-asked-for",
        None,
        "a worker that receives messages tells the loop of new timers",
        "understudy_actors.node.shell.NodeService._set_events",
        drop("self._loop.run(self._ticks_needed.set)"),
        f"{_HANDOFF}::test_a_worker_sets_the_nodes_timers_through_the_loop",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *_NODE_CORE,
    *_INTERPRETER,
    *_PROCESSES,
    *_WORKERS,
)
