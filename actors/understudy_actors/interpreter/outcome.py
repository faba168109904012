"""The ways in which a run ends: a value, an error, or another attempt."""

from __future__ import annotations

from typing import Any

import msgspec

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.ports import FunctionLike, RetryPolicy, Values
from understudy_actors.interpreter.requests import Request
from understudy_store.records import HEADER_ATTEMPT, REJECTED, RESOLVED, SettleState, Value


class Outcome(msgspec.Struct, eq=False):
    """The end of a function, encoded."""

    state: SettleState
    value: Value
    #: for this node's log; others see the encoded error in `value`
    error: BaseException | None = None


def success(values: Values, function: FunctionLike, result: Any, attempt: int) -> Outcome:
    """Encode what a function returned.

    Raises
    ------
    RequestError
        The result is a request that was not yielded.
    EncodingError
        The result cannot be encoded.
    """
    what = f"the result of {function.name}"
    if isinstance(result, Request):
        raise RequestError(f"{what}: {result.not_yielded()}")
    headers = {} if attempt == 1 else {HEADER_ATTEMPT: str(attempt)}
    return Outcome(RESOLVED, Value(headers, values.encode_value(result, what, function)))


def failure(values: Values, error: BaseException, attempt: int) -> Outcome:
    """Encode what a function raised."""
    headers = {} if attempt == 1 else {HEADER_ATTEMPT: str(attempt)}
    return Outcome(REJECTED, Value(headers, values.encode_error(error)), error)


def retry_delay_s(policy: RetryPolicy, attempt: int, error: BaseException) -> float | None:
    """Return the seconds until a leaf's next attempt; None if there is none.

    May add notes to `error`.
    """
    if not isinstance(error, Exception):
        return None
    try:
        return policy.delay_s(attempt, error)
    except Exception as broken:
        # The policy is the user's own. Its failure must not hide the function's.
        error.add_note(f"and the retry policy {policy!r} raised {broken!r}")
        return None
