"""Faults of the node's core."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_REFUSALS: Final = "node/test_refusals.py"
_TASKS: Final = "node/test_tasks.py"
_SUSPENSION: Final = "node/test_suspension.py"
_LOST_TASKS: Final = "node/test_lost_tasks.py"
_RECONNECT: Final = "node/test_reconnect.py"
_CREDIT: Final = "node/test_credit.py"
_RETRIES: Final = "node/test_retries.py"
_SCHEDULES: Final = "node/test_schedules.py"

_NODE_CORE: Final = (
    _mutant(
        "quiet-broker-waits-for-the-busy-one",
        None,
        "each broker may always send one task",
        "understudy_actors.node.credit.CreditAccounts._totals",
        swap("max(1, round(share))", "round(share)"),
        "node/test_credit_of_several.py",
    ),
    _mutant(
        "room-kept-for-a-broker-that-is-away",
        None,
        "the room of a broker that is away goes to the others",
        "understudy_actors.node.credit.CreditAccounts._totals",
        swap("session.connected or session is joining", "session is not None"),
        "node/test_credit_of_several.py",
    ),
    _mutant(
        "credit-not-used-up",
        18,
        "tasks that were handed over count against the announced credit",
        "understudy_actors.node.credit.CreditAccounts.use",
        swap("account.received += 1", "account.received += 0"),
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
        swap("activation.version == version", "activation.version < version"),
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
        "failed-attempt-without-a-cause",
        None,
        "a task that is tried again says why",
        "understudy_actors.node.core.NodeCore._release",
        swap("failed, cause, error)", "failed)"),
        _RETRIES,
    ),
    _mutant(
        "first-failure-without-its-traceback",
        None,
        "the first failure is logged whole",
        "understudy_actors.node.core.NodeCore._retry",
        swap("routine.attempt == 1", "routine.attempt == 2"),
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
        swap("status in (404, 409, 410)", "status == 404"),
        _LOST_TASKS,
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
        "understudy_actors.node.fence_replies.conflict",
        swap(
            "(alike and same_function) or HEADER_KIND not in recorded",
            "alike or HEADER_KIND not in recorded",
        ),
        _TASKS,
    ),
    _mutant(
        "changed-code-not-parked",
        None,
        "changed code parks the task and is no result of the call",
        "understudy_actors.node.core.NodeCore._perform",
        drop("self._fencing.park(run.activation, text)"),
        _TASKS,
    ),
    _mutant(
        "set-aside-closed",
        None,
        "nothing of a function runs when its call is merely set aside",
        "understudy_actors.interpreter.routine.Routine.close",
        swap("not self.is_over", "self.is_over is None"),
        "interpreter/test_ending.py",
    ),
    _mutant(
        "canceled-set-aside",
        None,
        "a generator whose call is canceled is closed, and cleans up",
        "understudy_actors.node.state.NodeState.drop",
        drop("run.routine.is_over = is_over"),
        "node/test_lost_tasks.py",
    ),
    _mutant(
        "refusal-unheard",
        None,
        "a function fails with the refusal of a call for which it did not wait",
        "understudy_actors.interpreter.routine.Routine._settle",
        swap("refused and outcome.error is None", "refused and outcome.error is not None"),
        _REFUSALS,
    ),
    _mutant(
        "ends-before-the-answer",
        None,
        "a function does not settle before the store has answered all of its calls",
        "understudy_actors.interpreter.routine.Routine._end",
        swap(
            "self.sent + len(self.calls.result.commands) > self._answered",
            "self.sent > self._answered",
        ),
        _REFUSALS,
    ),
    _mutant(
        "missing-step-instead-of-reason",
        None,
        "a refused step fails with the reason, and not because its promise does not exist",
        "understudy_actors.node.fencing.Fencing._on_command_reply",
        swap("reply.status == 404", "reply.status == 405"),
        _REFUSALS,
    ),
    _mutant(
        "long-ids-collide",
        None,
        "shortened ids of different callers differ",
        "understudy_actors.interpreter.child_ids._shortened",
        swap('id.encode("utf-8"', 'id[:KEPT_CHARS].encode("utf-8"'),
        "interpreter/test_child_ids.py",
    ),
    _mutant(
        "unknown-function-not-parked",
        None,
        "a function that the node does not know parks the task",
        "understudy_actors.node.intake.Intake.begin",
        drop('self._fencing.park(activation, f"{type(error).__name__}: {error}")'),
        _TASKS,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_NODE_CORE,)
