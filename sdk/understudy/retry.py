"""Retry policies: how long to wait after a failed attempt, and when to give up.

A policy is a value: frozen, comparable, and with a short text form (``exp:0.5:2:30:6``), so that
``.options(retry=...)`` of one call can travel to the node that runs it.
"""

from __future__ import annotations

import builtins
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from understudy.errors import (
    CommandError,
    ConfigurationError,
    DecodingError,
    EncodingError,
    InvalidArgumentsError,
    InvalidFunctionError,
    LateOptionsError,
    NonRetryableError,
    RemoteError,
    RequestError,
)

#: Errors that no further attempt mends: it would get the same arguments, values and code.
_LASTING: Final = (
    NonRetryableError,
    InvalidArgumentsError,
    InvalidFunctionError,
    EncodingError,
    DecodingError,
    RequestError,
    LateOptionsError,
)
#: statuses of commands that are wrong in themselves: malformed, too large, not possible
_WRONG_COMMANDS: Final = (400, 413, 422)

Kinds = tuple[type[BaseException] | str, ...]


@runtime_checkable
class Retry(Protocol):
    """The interface of a retry policy.

    A policy of your own works where the function is registered; it cannot travel with a call.

    Examples
    --------
    >>> class Patient:
    ...     def delay_s(self, attempt, error):
    ...         return None if isinstance(error, KeyError) else 60.0
    >>> @runtime.register(retry=Patient())
    ... def poll_sensor(ctx):
    ...     return 20.5 if ctx.info.attempt == 3 else 1 / 0
    >>> runtime.rpc("sensor-1", poll_sensor).result()
    20.5
    """

    def delay_s(self, attempt: int, error: BaseException) -> float | timedelta | None:
        """Decide how long to wait after a failed attempt.

        Parameters
        ----------
        attempt : int
            The number of the attempt that has just failed, from 1.
        error : BaseException
            The error that it raised.

        Returns
        -------
        float, datetime.timedelta or None
            Seconds until the next attempt, finite and not negative, or None to give up. If it is
            anything else, or an exception is raised, there is no further attempt, and a note of
            `error` says why.

        Examples
        --------
        >>> Exponential().delay_s(2, ConnectionError())
        1.0
        """


class _Policy:
    """The part that all policies share; each is a frozen dataclass."""

    #: the first part of the text form, and the fields that follow it
    scheme: ClassVar[str]
    numbers: ClassVar[tuple[str, ...]] = ()

    max_attempts: int | None = 1
    non_retryable: Kinds = ()
    retry_after_max_s: float = 0.0

    def delay_s(self, attempt: int, error: BaseException) -> float | None:
        """Decide how long to wait after a failed attempt.

        Parameters
        ----------
        attempt : int
            The number of the attempt that has just failed, from 1.
        error : BaseException
            The error that it raised.

        Returns
        -------
        float or None
            Seconds until the next attempt; None after the last attempt, after a
            `NonRetryableError` or one of `non_retryable` (also among those of an exception group),
            and after an error that no further attempt mends: arguments that do not suit a
            function, values that cannot be encoded or decoded, misuse of a request. An error of
            an HTTP library whose response has ``Retry-After`` may ask for a longer pause: see
            `Exponential`.

        Raises
        ------
        ConfigurationError
            `attempt` is less than 1.

        Examples
        --------
        >>> policy = Constant(pause_s=5, max_attempts=3, non_retryable=(KeyError,))
        >>> policy.delay_s(1, ConnectionError())
        5.0
        >>> policy.delay_s(1, KeyError()), policy.delay_s(3, ConnectionError())
        (None, None)
        """
        if attempt < 1:
            raise ConfigurationError(f"attempts are counted from 1, not {attempt}")
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        errors = list(_members(error))
        if any(_is_lasting(each) or _is_one_of(each, self.non_retryable) for each in errors):
            return None
        pause_s = float(self._pause_s(attempt))
        if not self.retry_after_max_s:
            return pause_s
        asked_s = max((retry_after_s(each) or 0.0 for each in errors), default=0.0)
        return max(pause_s, min(asked_s, float(self.retry_after_max_s)))

    def to_wire(self) -> str:
        """Return the short text that travels with a call.

        Returns
        -------
        str
            The name of the policy and its numbers.

        Examples
        --------
        >>> Exponential(max_attempts=None).to_wire()
        'exp:0.5:2:30:inf'
        """
        fields = [_number(getattr(self, name)) for name in self.numbers]
        text = ":".join([self.scheme, *fields])
        if kinds := ",".join(map(_dotted, self.non_retryable)):
            text += f";not={kinds}"
        if self.retry_after_max_s:
            text += f";after={_number(self.retry_after_max_s)}"
        return text

    def _pause_s(self, attempt: int) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class Exponential(_Policy):
    """Pauses that grow by a factor.

    Parameters
    ----------
    initial_s : float, optional
        The first pause, in seconds.
    factor : float, optional
        By how much each pause is longer than the one before, at least 1.
    max_delay_s : float, optional
        The longest pause, in seconds.
    max_attempts : int or None, optional
        How many attempts there may be, including the first; None means until the deadline.
    non_retryable : tuple of type or str, optional
        Exceptions, with their subclasses, after which there is no further attempt: classes, or
        names with their module such as ``"bank.Refused"``, which only those of Python itself
        (``"KeyError"``) need not have. The same holds for every `NonRetryableError`.
    retry_after_max_s : float, optional
        The longest ``Retry-After``, in seconds, that is honored; by default 0, which means none.
        If the error is that of an HTTP library (httpx, requests, aiohttp, urllib) and its response
        has this header, the pause is at least as long as the header asks for, in seconds or as a
        date, but not longer than this.

    Raises
    ------
    ConfigurationError
        A value that makes no sense.

    Examples
    --------
    >>> policy = Exponential(initial_s=1, factor=3, max_delay_s=20, max_attempts=5)
    >>> [policy.delay_s(attempt, ConnectionError()) for attempt in range(1, 6)]
    [1.0, 3.0, 9.0, 20.0, None]
    >>> from urllib.error import HTTPError
    >>> busy = HTTPError("https://bank.example", 429, "busy", {"Retry-After": "120"}, None)
    >>> Exponential(retry_after_max_s=600).delay_s(1, busy)
    120.0
    """

    scheme = "exp"
    numbers = ("initial_s", "factor", "max_delay_s", "max_attempts")

    initial_s: float = 0.5
    factor: float = 2.0
    max_delay_s: float = 30.0
    max_attempts: int | None = 6
    non_retryable: Kinds = ()
    retry_after_max_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        if not _is_number(self.factor) or self.factor < 1:
            raise _bad(self, "factor", self.factor, "a finite number of at least 1")

    def _pause_s(self, attempt: int) -> float:
        try:
            return min(self.initial_s * float(self.factor) ** (attempt - 1), self.max_delay_s)
        except OverflowError:
            return self.max_delay_s


@dataclass(frozen=True)
class Linear(_Policy):
    """Pauses that grow by the same amount each time.

    Parameters
    ----------
    step_s : float, optional
        The first pause, and the amount by which each further one is longer, in seconds.
    max_delay_s : float, optional
        The longest pause, in seconds.
    max_attempts, non_retryable, retry_after_max_s
        As for `Exponential`.

    Raises
    ------
    ConfigurationError
        A value that makes no sense.

    Examples
    --------
    >>> policy = Linear(step_s=2, max_attempts=4)
    >>> [policy.delay_s(attempt, ConnectionError()) for attempt in range(1, 5)]
    [2.0, 4.0, 6.0, None]
    """

    scheme = "linear"
    numbers = ("step_s", "max_delay_s", "max_attempts")

    step_s: float = 1.0
    max_delay_s: float = 30.0
    max_attempts: int | None = 6
    non_retryable: Kinds = ()
    retry_after_max_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def _pause_s(self, attempt: int) -> float:
        return min(self.step_s * attempt, self.max_delay_s)


@dataclass(frozen=True)
class Constant(_Policy):
    """The same pause each time.

    Parameters
    ----------
    pause_s : float, optional
        The pause, in seconds.
    max_attempts, non_retryable, retry_after_max_s
        As for `Exponential`.

    Raises
    ------
    ConfigurationError
        A value that makes no sense.

    Examples
    --------
    >>> policy = Constant(pause_s=10, max_attempts=3)
    >>> [policy.delay_s(attempt, ConnectionError()) for attempt in range(1, 4)]
    [10.0, 10.0, None]
    """

    scheme = "const"
    numbers = ("pause_s", "max_attempts")

    pause_s: float = 1.0
    max_attempts: int | None = 6
    non_retryable: Kinds = ()
    retry_after_max_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def _pause_s(self, attempt: int) -> float:  # noqa: ARG002 - the pause is always the same
        return self.pause_s


@dataclass(frozen=True)
class Never(_Policy):
    """One attempt and no other.

    Examples
    --------
    >>> Never().delay_s(1, ConnectionError()) is None
    True
    """

    scheme = "never"


_BY_SCHEME: dict[str, Any] = {
    policy.scheme: policy for policy in (Exponential, Linear, Constant, Never)
}


def to_wire(retry: Retry) -> str:
    """Return the text form of a policy; raises `ConfigurationError` if it has none."""
    if isinstance(retry, _Policy):
        return retry.to_wire()
    raise ConfigurationError(
        f"retry={retry!r} cannot travel with a call: use Exponential, Linear, Constant or Never, "
        "or give it where the function is registered"
    )


def from_wire(text: str) -> Retry:
    """Read a text form; raises `ConfigurationError` naming it."""
    numbers, *others = text.split(";")
    scheme, *fields = numbers.split(":")
    policy = _BY_SCHEME.get(scheme)
    try:
        if policy is None:
            raise ValueError("no such policy")
        if len(fields) != len(policy.numbers):
            raise ValueError(f"{scheme} has {len(policy.numbers)} numbers")
        given: dict[str, Any] = dict(zip(policy.numbers, map(_read, fields), strict=True))
        for other in others:
            key, _, value = other.partition("=")
            if key == "not":
                given["non_retryable"] = tuple(map(_loaded, value.split(",")))
            elif key == "after":
                given["retry_after_max_s"] = _read(value)
            else:
                raise ValueError(f"{key!r} is no part of a policy")
        made: Retry = policy(**given)
        return made
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{text!r} is not a retry policy ({error}): it looks like exp:0.5:2:30:6, "
            "linear:1:30:6, const:1:5 or never"
        ) from error


def _members(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those in it if it is a group."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _members(inner)


def _is_lasting(error: BaseException) -> bool:
    if isinstance(error, CommandError):
        return error.status in _WRONG_COMMANDS
    return isinstance(error, _LASTING)


def retry_after_s(error: BaseException) -> float | None:
    """Return the seconds for which the response of an HTTP error asks to wait, or None.

    The errors of httpx and requests have the response, those of aiohttp and urllib the headers. A
    date counts from the date of the response if that is there, because clocks may differ.
    """
    headers = _attribute(_attribute(error, "response"), "headers")
    if headers is None:
        headers = _attribute(error, "headers")
    asked = _header(headers, "Retry-After")
    if asked is None:
        return None
    if asked.isascii() and asked.isdigit():
        return float(asked)
    until, now = _date(asked), _date(_header(headers, "Date"))
    if until is None:
        return None
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _attribute(value: object, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:
        # The class of a user's error may raise something else for a name that it does not know.
        return None


def _header(headers: Any, name: str) -> str | None:
    """Return a header of a mapping that may heed the case of names, or of something else."""
    if not isinstance(headers, Mapping) and not hasattr(headers, "get"):
        return None
    for spelling in (name, name.lower()):
        try:
            value = headers.get(spelling)
        except Exception:
            return None
        if isinstance(value, str):
            return value.strip()
    return None


def _date(text: str | None) -> datetime | None:
    try:
        found = None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date that names no zone is in UTC.
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def _is_one_of(error: BaseException, kinds: Kinds) -> bool:
    if not kinds:
        return False
    names = {_dotted(kind) for kind in type(error).__mro__}
    if isinstance(error, RemoteError):
        names.add(error.type_name)
    return any(
        _dotted(kind) in names if isinstance(kind, str) else isinstance(error, kind)
        for kind in kinds
    )


def _dotted(kind: type | str) -> str:
    if isinstance(kind, str):
        return kind if "." in kind else f"builtins.{kind}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _loaded(dotted: str) -> type[BaseException] | str:
    """Return the class if its module is loaded here, else its name, which is compared then."""
    parts = dotted.split(".")
    if not all(parts):
        raise ValueError("an empty name after not=")
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return dotted


def _number(value: float | None) -> str:
    return "inf" if value is None else repr(value).removesuffix(".0")


def _read(field: str) -> float | None:
    if field == "inf":
        return None
    return int(field) if field.lstrip("-").isdecimal() else float(field)


def _bad(policy: _Policy, name: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{type(policy).__name__}({name}={value!r}): it must be {allowed}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check(policy: _Policy) -> None:
    for name in policy.numbers:
        value = getattr(policy, name)
        if name.endswith("_s") and (not _is_number(value) or value < 0):
            raise _bad(policy, name, value, "a finite number of seconds, 0 or more")
    attempts: Any = policy.max_attempts  # for a caller that uses no type checker
    whole = isinstance(attempts, int) and not isinstance(attempts, bool)
    if attempts is not None and (not whole or attempts < 1):
        raise _bad(policy, "max_attempts", attempts, "an int of at least 1, or None for no end")
    longest: object = policy.retry_after_max_s
    if not _is_number(longest) or float(longest) < 0:  # type: ignore[arg-type]
        allowed = "a finite number of seconds, 0 or more"
        raise _bad(policy, "retry_after_max_s", longest, allowed)
    kinds: object = policy.non_retryable
    if not isinstance(kinds, tuple) or not all(map(_is_kind, kinds)):
        raise _bad(
            policy,
            "non_retryable",
            kinds,
            'a tuple of exception classes, or of names with their module ("bank.Refused"); only '
            'those of Python itself ("KeyError") need none',
        )


def _is_kind(kind: object) -> bool:
    if isinstance(kind, str):
        if "." in kind:
            return not set(kind) & set(",;")
        # Any other name without a module would match no error ever.
        kind = getattr(builtins, kind, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)
