"""The ways in which a run ends: a value, an error, or another attempt."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Final, SupportsFloat

import msgspec

from understudy_actors.error_classes import error_class
from understudy_actors.errors import RequestError
from understudy_actors.interpreter.error_notes import annotate
from understudy_actors.interpreter.ports import FunctionLike, RetryPolicy, Values
from understudy_actors.interpreter.requests import Request
from understudy_store.records import (
    HEADER_ATTEMPT,
    HEADER_ERROR,
    REJECTED,
    RESOLVED,
    SettleState,
    Value,
)

#: the longest delay, a hundred years: longer ones do not fit into the clock of the store
_DELAY_MAX_S: Final = 100 * 365 * 24 * 3600.0
_DELAYS: Final = "a number of seconds (finite, 0 or more), a timedelta, or None to give up"


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
    """Encode what a function raised; never raises, because the call must end."""
    headers = {HEADER_ERROR: error_class(error)}
    if attempt != 1:
        headers[HEADER_ATTEMPT] = str(attempt)
    try:
        data = values.encode_error(error)
    except BaseException as broken:
        # No Ctrl-C arrives on the threads of functions, so the code of the error's class raised it.
        text = f"the function raised {type(error).__name__}, which raised {type(broken).__name__}"
        data = values.encode_error(RequestError(f"{text} when it was encoded"))
    return Outcome(REJECTED, Value(headers, data), error)


def retry_delay_s(policy: RetryPolicy, attempt: int, error: BaseException) -> float | None:
    """Return the seconds until a leaf's next attempt; None if there is none.

    The policy is the user's own. Its mistakes must not hide the failure of the function, so they
    become notes on `error`.
    """
    if not isinstance(error, Exception):
        return None
    try:
        delay: object = policy.delay_s(attempt, error)
        if delay is None:
            return None
        delay_s = _seconds(delay)
        if delay_s is not None:
            return delay_s
        problem = f"returned {_shown(delay)}: delay_s must return {_DELAYS}"
    except BaseException as broken:
        problem = f"raised {_shown(broken)}"
    annotate(error, f"and the retry policy {_shown(policy)} {problem}")
    return None


def _seconds(delay: object) -> float | None:
    """Return what a policy has answered in seconds; None if it is no delay."""
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    delay_s = float(delay) if isinstance(delay, SupportsFloat) else math.nan
    return min(delay_s, _DELAY_MAX_S) if 0 <= delay_s < math.inf else None


def _shown(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"a {type(value).__name__}"
