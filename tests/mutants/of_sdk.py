"""Faults of what users touch: handles, what waits behind them, retry policies, values, errors."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Floor, Mutant

_mutant = Floor("sdk/understudy", "tests/unit/sdk").mutant
_VALUES: Final = "test_values.py"
_FAILURES: Final = "test_failures.py"
_RETRY: Final = "test_retry.py"
_LOCAL: Final = "tests/integration/test_runtime_local.py"
_HANDLES: Final = "test_handles.py"

_WAITING: Final = (
    _mutant(
        "wait-without-timeout",
        None,
        "result(timeout=) waits no longer than that",
        "handle.py",
        "record = self._future.result(timeout)",
        "record = self._future.result(timeout and timeout * 10)",
        _HANDLES,
    ),
    _mutant(
        "functions-own-timeout-hidden",
        None,
        "a TimeoutError that the function raised is its own",
        "handle.py",
        "            if self._future.done():\n                raise\n",
        "",
        _HANDLES,
    ),
    _mutant(
        "refusal-taken-for-success",
        None,
        "who is refused is told",
        "handle.py",
        "        return CommandError(answer.status, answer.error)\n",
        "        return None\n",
        _HANDLES,
    ),
    _mutant(
        "cancelled-wait-cancels-the-call",
        None,
        "a cancelled wait leaves the call alone",
        "handle.py",
        "        await settled\n",
        "        try:\n            await settled\n        finally:\n            future.cancel()\n",
        _HANDLES,
    ),
    _mutant(
        "second-waiter-forgotten",
        None,
        "everyone who waits for a promise gets its result",
        "asking.py",
        "            for future in watches.pop(record.id, ()):\n",
        "            for future in watches.pop(record.id, [])[:1]:\n",
        _HANDLES,
    ),
    _mutant(
        "settled-before-the-watch",
        None,
        "what had settled before it was watched is a result, too",
        "asking.py",
        "                self.resolve(answer.reply.promises or ())\n",
        "                pass\n",
        _HANDLES,
    ),
    _mutant(
        "watched-once",
        None,
        "after a reconnect a process watches again what it waits for",
        "connection.py",
        "if reconnected and self._asking.watches:",
        "if not reconnected and self._asking.watches:",
        "tests/integration/test_runtime_processes.py::test_calls_outlive_the_broker",
    ),
    _mutant(
        "absent-one-of-many-watched",
        None,
        "one absent id does not end the waits for the others",
        "asking.py",
        "                for id in ids:\n                    self.send_watch((id,))\n",
        "                self.watches.clear()\n",
        _HANDLES,
    ),
    _mutant(
        "another-functions-id",
        None,
        "an id under which another function was called is refused",
        "asking.py",
        "    if name == other:\n        return None\n",
        "    if name or other:\n        return None\n",
        _HANDLES,
    ),
    _mutant(
        "waits-on-what-has-ended",
        None,
        "nobody waits for ever on a runtime that has stopped",
        "asking.py",
        "            for future in list(futures):\n                fail_future(future, error)\n",
        "            for future in list(futures):\n                fail_future(future, error)\n"
        "                break\n",
        _HANDLES,
    ),
)

_POLICIES: Final = (
    _mutant(
        "one-attempt-too-many",
        None,
        "max_attempts counts the first one too",
        "retry.py",
        "if self.max_attempts is not None and attempt >= self.max_attempts:",
        "if self.max_attempts is not None and attempt > self.max_attempts:",
        _RETRY,
    ),
    _mutant(
        "retries-what-must-not-be",
        None,
        "a NonRetryableError ends the call at once",
        "retry.py",
        "if isinstance(error, NonRetryableError) or _is_one_of(error, self.non_retryable):",
        "if _is_one_of(error, self.non_retryable):",
        _RETRY,
    ),
    _mutant(
        "pause-without-bound",
        None,
        "a pause is at most max_delay_s",
        "retry.py",
        "return min(self.initial_s * float(self.factor) ** (attempt - 1), self.max_delay_s)",
        "return self.initial_s * float(self.factor) ** (attempt - 1)",
        _RETRY,
    ),
)

_DATA: Final = (
    _mutant(
        "tuples-become-lists",
        None,
        "a value arrives as what it was",
        "values/lifting.py",
        "            return tuple(inner)\n",
        "            return inner\n",
        f"{_VALUES}::TestRoundTrip::test_corner_cases",
    ),
    _mutant(
        "folded-hour-unfolded",
        None,
        "a time in the hour that comes twice keeps which of the two it is",
        "values/lifting.py",
        "    # where the zone is not known the offset that it had still tells the very instant\n"
        "    return value.replace(fold=int(fold),",
        "    return value.replace(fold=0,",
        f"{_VALUES}::TestRoundTrip::test_corner_cases",
    ),
    _mutant(
        "large-int-unsigned",
        None,
        "large numbers keep their sign",
        "values/lifting.py",
        'int.from_bytes(data, "big", signed=True)',
        'int.from_bytes(data, "big", signed=False)',
        f"{_VALUES}::TestRoundTrip::test_corner_cases",
    ),
    _mutant(
        "unpickles-for-anyone",
        None,
        "pickled data is refused unless it was allowed",
        "values/lifting.py",
        "        if not self._pickle:\n",
        "        if self._tagged and not self._pickle:\n",
        f"{_VALUES}::TestPickle::test_pickled_data_is_refused_where_not_allowed",
    ),
    _mutant(
        "cycle-not-noticed",
        None,
        "what contains itself is refused",
        "values/lowering.py",
        "        if self.depth == codes.DEPTH_MAX:\n",
        "        if self.depth == -1:\n",
        f"{_VALUES}::TestRefusals::test_depth",
    ),
    _mutant(
        "too-large-a-value",
        None,
        "a payload past its limit is refused where it is made",
        "values/codec.py",
        "            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None\n"
        "        if len(data) > self.payload_bytes_max:\n",
        "            raise PayloadTooLargeError(what, None, self.payload_bytes_max) from None\n"
        "        if len(data) > 2 * self.payload_bytes_max:\n",
        f"{_VALUES}::TestRefusals::test_size",
    ),
    _mutant(
        "missing-data-is-an-error",
        None,
        "a timer's value is None",
        "values/codec.py",
        "        if data is None:\n            return None\n        plan",
        '        if data is None:\n            return data or b""\n        plan',
        f"{_VALUES}::TestRoundTrip::test_no_data_is_none",
    ),
    _mutant(
        "errors-wire-rewritten",
        None,
        "an error passes unchanged through those who do not know its class",
        "values/failures.py",
        "        return error._wire\n",
        "        pass\n",
        _FAILURES,
    ),
    _mutant(
        "error-past-the-limit",
        None,
        "an error fits a payload, whatever it holds",
        "values/failures.py",
        "        if len(data) <= codec.payload_bytes_max:\n",
        "        if len(data) >= 0:\n",
        _FAILURES,
    ),
    _mutant(
        "stop-iteration-rebuilt",
        None,
        "what means something to Python itself is not raised into a generator",
        "values/failures.py",
        "        and not issubclass(kind, _NEVER_REBUILT)\n",
        "",
        _FAILURES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_WAITING, *_POLICIES, *_DATA)
