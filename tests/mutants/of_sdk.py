"""Faults of what users touch: handles, what waits behind them, retry policies, states."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk").mutant
_RETRY: Final = "test_retry.py"
_PUBLIC_ERRORS: Final = "test_public_errors.py"
_CALLABLES_TESTS: Final = "tests/integration/sdk/test_callables.py"
_HANDLES: Final = "client/test_handles.py"
_NOTICES: Final = "test_wait_notices.py"
_SUBMISSIONS: Final = "client/test_submissions.py"

_WAITING: Final = (
    _mutant(
        "wait-without-timeout",
        None,
        "result(timeout=) waits no longer than that",
        "understudy.handle.Handle.result",
        swap("(timeout_s)", "(timeout_s and timeout_s * 10)"),
        _HANDLES,
    ),
    _mutant(
        "await-without-looks",
        None,
        "await handle tells why it takes long, as result() does",
        "understudy.handle.Handle._wait",
        swap("self._looks()", "None"),
        _HANDLES,
    ),
    _mutant(
        "timer-of-one-look",
        None,
        "a wait on asyncio looks again and again",
        "understudy.handle._Timer._next",
        swap("call_later(next(self._looks), self._next)", "call_later(next(self._looks), repr, 0)"),
        _HANDLES,
    ),
    _mutant(
        "parked-unheard",
        None,
        "who waits for a call is told that it is parked",
        "understudy.wait_notices.WaitNotices._on_task",
        drop('self._tell(promise, f"halted {task.version}", f" {halt_text(task)}")'),
        _NOTICES,
    ),
    _mutant(
        "waits-for-nobody-unheard",
        None,
        "who waits for a call is told that no node can perform it",
        "understudy.wait_notices.WaitNotices._on_groups",
        swap("why is not None", "why is None"),
        _NOTICES,
    ),
    _mutant(
        "looks-without-bound",
        None,
        "those who wait ask for a bounded number of things at a time",
        "understudy.wait_notices.WaitNotices._ask",
        swap("len(self._unanswered) < UNANSWERED_MAX", "True"),
        _NOTICES,
    ),
    _mutant(
        "functions-own-timeout-hidden",
        None,
        "a TimeoutError that the function raised is its own",
        "understudy.handle.Handle.result",
        swap("timeout_s is None or self._future.done()", "timeout_s is None"),
        _HANDLES,
    ),
    _mutant(
        "refusal-taken-for-success",
        None,
        "a peer that is refused is told",
        "understudy.handle.refusal",
        swap("CommandError(answer.status, answer.error)", "None"),
        _HANDLES,
    ),
    _mutant(
        "cancelled-wait-cancels-the-call",
        None,
        "a canceled wait does not affect the call",
        "understudy.handle.wait_future",
        swap(
            "        await settled\nreturn",
            "        try:\n            await settled\n"
            "        finally:\n            future.cancel()\nreturn",
        ),
        _HANDLES,
    ),
    _mutant(
        "second-waiter-forgotten",
        None,
        "every waiter for a promise gets its result",
        "understudy.client.requests.PendingRequests.resolve",
        swap("watches.pop(record.id, ())", "watches.pop(record.id, [])[:1]"),
        _HANDLES,
    ),
    _mutant(
        "settled-before-the-watch",
        None,
        "a promise that settled before it was watched gives its result, too",
        "understudy.client.requests.PendingRequests._send_watch.on_reply",
        drop("self.resolve(answer.reply.promises or ())"),
        _HANDLES,
    ),
    _mutant(
        "watched-once",
        None,
        "after a reconnect a process watches the promises that it waits for again",
        "understudy.client.peer.Peer.on_connected",
        drop("if reconnected:\n    self._requests.renew_watches(is_there)"),
        "tests/integration/sdk/test_runtime_processes.py::test_calls_outlive_the_broker",
    ),
    _mutant(
        "absent-one-of-many-watched",
        None,
        "an absent id does not end the waits for the others",
        "understudy.client.requests.PendingRequests._send_watch.on_reply",
        swap(
            "    for id in ids:\n        self._send_watch((id,))\nelif",
            "    self.watches.clear()\nelif",
        ),
        _HANDLES,
    ),
    _mutant(
        "another-functions-id",
        None,
        "an id under which another function was called is refused",
        "understudy.client.requests._collision",
        swap("name == other", "name or other"),
        _HANDLES,
    ),
    _mutant(
        "waits-on-what-has-ended",
        None,
        "no caller waits forever on a runtime that has stopped",
        "understudy.client.requests.PendingRequests.fail_all",
        swap(
            "    self.fail(list(futures), error)\nself.fail_unanswered",
            "    self.fail(list(futures)[:1], error)\nself.fail_unanswered",
        ),
        _HANDLES,
    ),
    _mutant(
        "submission-without-wake-up",
        None,
        "a submission after the queue was emptied wakes the loop again",
        "understudy.client.submissions.SubmissionQueue._run_all",
        drop("self._signaled = False"),
        _SUBMISSIONS,
    ),
    _mutant(
        "refused-submission-ends-the-others",
        None,
        "a request that the link refuses fails alone",
        "understudy.client.submissions.SubmissionQueue._run_all",
        swap("requests.fail(futures, error)", "queue.clear()"),
        _SUBMISSIONS,
    ),
)

_PUBLIC_API: Final = (
    _mutant(
        "argument-error-of-python",
        None,
        "every error of a public call is an UnderstudyError",
        "understudy.registry.Function.check_arguments",
        swap("raise InvalidArgumentsError(", "raise TypeError("),
        _PUBLIC_ERRORS,
    ),
    _mutant(
        "unknown-option-ignored",
        None,
        "an option that does not exist is refused",
        "understudy.options._unknown",
        swap(
            'raise InvalidArgumentsError(f"there is no option {option!r}; the options are '
            "{', '.join(_CHECKS)}\")",
            "return None",
        ),
        _PUBLIC_ERRORS,
    ),
    _mutant(
        "keyword-stolen-from-a-schedule",
        None,
        "keyword arguments of the user's function are not taken as options",
        "understudy.schedules.Schedules._promise_id_of",
        swap(
            "function is None or function.takes_keyword",
            "function is None or not function.takes_keyword",
        ),
        "test_keywords.py",
    ),
    _mutant(
        "times-without-a-zone",
        None,
        "public times are in UTC",
        "understudy.promises.utc",
        swap("epoch_ms / 1000, UTC", "epoch_ms / 1000"),
        "test_public_types.py",
    ),
    _mutant(
        "options-of-the-copy-are-the-runtimes-own",
        None,
        "options() leaves the runtime as it is",
        "understudy.runtime.Runtime.options",
        swap("copy.copy(self)", "self"),
        "test_public_types.py",
    ),
)

_CALLABLES: Final = (
    _mutant(
        "a-wrapper-is-taken-for-what-it-wraps",
        None,
        "what a callable itself is decides its kind",
        "understudy.registry._kind",
        swap("_kind_of_callable(fn)", "_kind_of_callable(_innermost(fn))"),
        "test_registry.py::TestFunction::test_kind",
    ),
    _mutant(
        "methods-are-never-found-again",
        None,
        "a bound method is the same each time that it is taken",
        "understudy.registry.key_of",
        swap("fn.__class__ is types.MethodType", "False"),
        f"{_CALLABLES_TESTS}::test_a_method_is_found_again",
    ),
    _mutant(
        "target-of-a-registration-ignored",
        None,
        "register(target=) is the default target",
        "understudy.client.calls.client_call",
        swap("(function and function.target) or env.target", "env.target"),
        f"{_CALLABLES_TESTS}::TestTargets::test_a_function_has_a_target",
    ),
    _mutant(
        "percent-in-an-id",
        None,
        "the id is no part of the user's format",
        "understudy.context.FunctionLog.log",
        swap('prefix.replace("%", "%%")', "prefix"),
        f"{_CALLABLES_TESTS}::test_the_log_takes_any_id",
    ),
)

_POLICIES: Final = (
    _mutant(
        "one-attempt-too-many",
        None,
        "max_attempts counts the first one too",
        "understudy.retry._Policy.delay_s",
        swap("attempt >= self.max_attempts", "attempt > self.max_attempts"),
        _RETRY,
    ),
    _mutant(
        "retries-what-must-not-be",
        None,
        "a NonRetryableError ends the call at once",
        "understudy.retry._Policy.delay_s",
        swap("_is_lasting(each) or _is_one_of", "_is_one_of"),
        _RETRY,
    ),
    _mutant(
        "groups-are-not-looked-into",
        None,
        "an error in a group counts as one alone",
        "understudy.retry._members",
        swap("yield from _members(inner)", "continue"),
        _RETRY,
    ),
    _mutant(
        "non-retryable-name-that-matches-nothing",
        None,
        "a name without a module is one of Python's own exceptions",
        "understudy.retry._dotted",
        swap('f"builtins.{kind}"', "kind"),
        _RETRY,
    ),
    _mutant(
        "retry-after-without-bound",
        None,
        "a Retry-After is honored up to a bound",
        "understudy.retry._Policy.delay_s",
        swap("min(asked_s, float(self.retry_after_max_s))", "asked_s"),
        _RETRY,
    ),
    _mutant(
        "pause-without-bound",
        None,
        "a pause is at most max_delay_s",
        "understudy.retry.Exponential._pause_s",
        swap(
            "min(self.initial_s * float(self.factor) ** (attempt - 1), self.max_delay_s)",
            "self.initial_s * float(self.factor) ** (attempt - 1)",
        ),
        _RETRY,
    ),
)

_STATES: Final = (
    _mutant(
        "state-as-the-store-names-it",
        None,
        "Python names the states of promises as tables do",
        "understudy.promises._stored_promise",
        swap("PROMISE_WORDS[record.state]", "record.state"),
        "test_public_types.py",
    ),
    _mutant(
        "state-of-a-task-as-the-store-names-it",
        None,
        "JSON names the states of tasks as tables do",
        "understudy.views.records.task_json",
        swap("TASK_WORDS[task.state]", "task.state"),
        "cli/test_records.py",
    ),
    _mutant(
        "searches-know-one-name-only",
        None,
        "a search takes the store's name of a state and the one that is shown",
        "understudy.states.stored_name",
        swap("word == state", "name == state"),
        "cli/test_tables.py",
    ),
    _mutant(
        "signal-missed",
        None,
        "a signal that another thread receives wakes the one that waits for it",
        "understudy.processes.signals.StopRequest.awake_at_signals",
        swap("signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)", "-1"),
        "tests/integration/sdk/test_stop_requests.py",
    ),
    _mutant(
        "concurrency-unsaid",
        None,
        "a node announces how many functions it runs at a time",
        "understudy.client.peer.Peer.hello",
        swap("node.config.concurrency if node is not None else None", "None"),
        "tests/integration/cli/test_commands.py::test_tree_and_groups_name_a_group_without_nodes",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_WAITING, *_PUBLIC_API, *_CALLABLES, *_POLICIES, *_STATES)
