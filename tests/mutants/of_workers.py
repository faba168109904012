"""Faults of workers, and of the pool that keeps processes alive."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/actors").mutant
_CREDIT: Final = "node/test_credit.py"
_JOINS: Final = "interpreter/test_joins.py"
_POOL: Final = "processes/test_restart.py"
_POLLING: Final = "executor/test_worker_polling.py"
_LENT_SLOTS: Final = "executor/test_lent_slots.py"
_FORKED: Final = "tests/integration/actors/test_forked_functions.py"
_HANDOFF: Final = "tests/integration/broker/test_poll_handoff.py"

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
        "tests/integration/sdk/test_runtime_logs.py",
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
    _mutant(
        "lent-without-bound",
        None,
        "at most so many slots are lent, because each holds a thread",
        "understudy_actors.executor.worker_pool.WorkerPool.lend",
        swap("lent = self._lent < LENT_MAX", "lent = True"),
        _LENT_SLOTS,
    ),
    _mutant(
        "forked-without-exit-code",
        None,
        "a process that a function forks ends with the exit code of a program",
        "understudy_actors.executor.forked.end_of_step",
        swap("end_process(ended.error)", "end_process(None)"),
        _FORKED,
    ),
    _mutant(
        "forked-awaits",
        None,
        "a process that a function forks cannot go on as the node",
        "understudy_actors.executor.forked.end_of_step",
        drop(
            "if result.trap is not NO_TRAP or (routine.wait is not None and ended is None):\n"
            "    end_process(went_on())"
        ),
        _FORKED,
    ),
    _mutant(
        "settled-early-unnamed",
        None,
        "the note on a failed step is the same before its create is stored as in a replay",
        "understudy_actors.interpreter.failure_notes._described",
        swap("not param.headers", "False"),
        _JOINS,
    ),
    _mutant(
        "lent-for-good",
        None,
        "after a slot was lent there are as many as before",
        "understudy_actors.executor.worker_pool.WorkerPool._step_all",
        swap("self._active > self._size and self._retire()", "False"),
        _LENT_SLOTS,
    ),
    _mutant(
        "lent-and-left",
        None,
        "a run that waits begins at once when a slot is lent",
        "understudy_actors.executor.worker_pool.WorkerPool.lend",
        swap("self._activate()", "pass"),
        _LENT_SLOTS,
    ),
    _mutant(
        "lent-without-credit",
        None,
        "a lent slot is room for one more task",
        "understudy_actors.node.credit.CreditAccounts.room",
        swap("self.policy.target + self.lent", "self.policy.target"),
        _CREDIT,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_PROCESSES, *_WORKERS)
