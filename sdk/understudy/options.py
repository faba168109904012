"""Options of one call, or of a runtime: all unset unless given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Self

import msgspec

from understudy.errors import ConfigurationError
from understudy.retry import Retry
from understudy_store.addresses import InvalidAddressError, canonical, poll
from understudy_store.limits import Limits

__all__ = ["Options", "poll"]

#: keys of tags that start so are the SDK's own
RESERVED: Final = "understudy:"
PRIORITY_MAX: Final = 100

_LIMITS: Final = Limits()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `.options(...)` collects. Make one with ``Options().merge(...)``, which validates.

    Attributes
    ----------
    id
        The promise's id, instead of the one that follows from the call's place.
    target
        Where it runs, in its canonical spelling ("poll://any@group").
    timeout_s, delay_s
        Seconds from the call to the deadline, and to when it is first handed out.
    version
        Of the function; unset means the highest.
    tags
        Yours, to search by.
    retry
        The policy for this call instead of the function's own.
    priority
        -100 to 100; higher goes first.
    """

    id: str | None = None
    target: str | None = None
    timeout_s: float | None = None
    version: int | None = None
    tags: dict[str, str] | None = None
    retry: Retry | None = None
    delay_s: float | None = None
    priority: int | None = None

    def merge(
        self,
        *,
        id: str | None = None,
        target: str | None = None,
        send_to: str | None = None,
        timeout: float | timedelta | None = None,
        version: int | None = None,
        tags: Mapping[str, str] | None = None,
        retry: Retry | None = None,
        delay: float | timedelta | None = None,
        priority: int | None = None,
    ) -> Self:
        """A copy with these set; what is None stays as it was, and `tags` replaces all tags.

        Parameters
        ----------
        target, send_to
            The same thing: "group", "poll://group", `poll("group")`. Given twice, they must agree.
        timeout, delay
            Seconds, or a `timedelta`.

        Raises
        ------
        ConfigurationError
            Names the option and the value.
        """
        changed: dict[str, Any] = {}
        if id is not None:
            changed["id"] = _id(id)
        if target is not None or send_to is not None:
            changed["target"] = _target(target, send_to)
        if timeout is not None:
            changed["timeout_s"] = seconds("timeout", timeout, zero=False)
        if version is not None:
            changed["version"] = _whole("version", version, 1, 2**31 - 1)
        if tags is not None:
            changed["tags"] = _tags(tags)
        if retry is not None:
            changed["retry"] = _retry(retry)
        if delay is not None:
            changed["delay_s"] = seconds("delay", delay, zero=True)
        if priority is not None:
            changed["priority"] = _whole("priority", priority, -PRIORITY_MAX, PRIORITY_MAX)
        return msgspec.structs.replace(self, **changed) if changed else self


#: nothing set: the default of everything that takes options
UNSET: Final = Options()


def seconds(option: str, value: object, *, zero: bool) -> float:
    """`value` in seconds, or `ConfigurationError` naming `option`; `zero` says if 0 will do."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _bad(option, value, "seconds, as a number or a timedelta")
    try:
        converted = float(number)
    except OverflowError:
        converted = math.inf
    if not math.isfinite(converted) or converted < 0 or (converted == 0 and not zero):
        allowed = "a finite number of seconds, 0 or more" if zero else "finite, and more than 0 s"
        raise _bad(option, value, allowed)
    return converted


def _bad(option: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"option {option}={value!r}: it must be {allowed}")


def _id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LIMITS.id_chars_max:
        raise _bad("id", value, f"a string of 1 to {_LIMITS.id_chars_max} characters")
    return value


def _target(target: object, send_to: object) -> str:
    spellings = {
        _address(option, value)
        for option, value in (("target", target), ("send_to", send_to))
        if value is not None
    }
    if len(spellings) > 1:
        raise ConfigurationError(
            f"options target={target!r} and send_to={send_to!r} differ: they mean the same thing, "
            "give one of them"
        )
    return spellings.pop()


def _address(option: str, value: object) -> str:
    if not isinstance(value, str):
        raise _bad(option, value, "a string, such as poll('group') or 'poll://group'")
    try:
        return canonical(value)
    except InvalidAddressError as error:
        raise ConfigurationError(f"option {option}={value!r}: {error}") from error


def _whole(option: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _bad(option, value, f"an int from {least} to {most}")
    return value


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _bad("tags", value, "a dict of strings")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise _bad("tags", value, f"a dict of strings, which {key!r}: {text!r} is not")
        if key.startswith(RESERVED):
            raise _bad("tags", value, f"without keys that start with {RESERVED!r}: {key!r}")
    return dict(value)


def _retry(value: object) -> Retry:
    if isinstance(value, type) or not isinstance(value, Retry):
        raise _bad("retry", value, "a policy, such as Exponential(), Constant(1, 5) or Never()")
    return value
