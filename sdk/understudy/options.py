"""Options of one call, or of all calls of a runtime, and the checks of what users pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NoReturn, Self, Unpack

import msgspec

from understudy.errors import ConfigurationError, InvalidArgumentsError
from understudy.retry import Retry
from understudy_actors.interpreter.call_options import CallOptions
from understudy_actors.interpreter.child_ids import HOME_CHARS_MAX
from understudy_actors.interpreter.ports import LOOPS, LoopName
from understudy_store.addresses import InvalidAddressError, canonical, poll
from understudy_store.limits import DURATION_MS_MAX, Limits
from understudy_store.records import NEVER_PURGED
from understudy_store.retention import duration_ms
from understudy_store.slots import home_of

__all__ = ["CallOptions", "Options", "poll"]

#: Tags whose keys start with this text are the library's own.
RESERVED: Final = "understudy:"
PRIORITY_MAX: Final = 100
VERSION_MAX: Final = 2**31 - 1

#: The bounds of the store, which a broker may have set otherwise: it has the last word.
LIMITS: Final = Limits()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options that ``.options(...)`` collects; None means not set.

    Make one with ``Options().merge(...)``, which checks the values.

    Attributes
    ----------
    id : str or None
        The promise's id, instead of the one that follows from the place of the call.
    home : str or None
        Where the call lives: its id begins with it and a dot.
    target : str or None
        The group or node that performs the call, in its canonical spelling ("poll://any@group").
    timeout_s, delay_s : float or None
        Seconds from the call to its deadline, and to the moment when it is first handed out.
    version : int or None
        The version of the function; not set means the highest.
    tags : dict of str to str or None
        The user's own tags, to search by.
    retry : Retry or None
        The policy for this call, instead of the function's own.
    priority : int or None
        -100 to 100; a higher one goes first.
    retention : str or None
        How long the call graph is kept after its end, as the tag has it.
    """

    id: str | None = None
    home: str | None = None
    target: str | None = None
    timeout_s: float | None = None
    version: int | None = None
    tags: dict[str, str] | None = None
    retry: Retry | None = None
    delay_s: float | None = None
    priority: int | None = None
    retention: str | None = None

    def merge(self, **given: Unpack[CallOptions]) -> Self:
        """Return a copy with some options changed.

        Parameters
        ----------
        **given : CallOptions
            The options to change. None leaves an option as it is; `tags` replaces all tags;
            `target` and `send_to` are two names for one option and must agree.

        Raises
        ------
        ConfigurationError
            Names the option and the value that cannot be used.
        InvalidArgumentsError
            There is no such option.
        """
        changed: dict[str, Any] = {}
        for option, value in given.items():
            if value is not None:
                field, check = _CHECKS.get(option, ("", _unknown))
                changed[field] = check(option, value)
        if given.get("target") is not None and given.get("send_to") is not None:
            changed["target"] = _one_target(given["target"], given["send_to"])
        if given.get("id") is not None and given.get("home") is not None:
            check_home(changed["home"], changed["id"])
        return msgspec.structs.replace(self, **changed) if changed else self


#: No option set: the default of everything that takes options.
UNSET: Final = Options()


def seconds(option: str, value: object, *, zero: bool) -> float:
    """Convert `value` to seconds.

    Parameters
    ----------
    option
        The name of the option, for the error's text.
    value
        A number of seconds, or a timedelta.
    zero
        Whether 0 is allowed.

    Raises
    ------
    ConfigurationError
        `value` is no finite number of seconds, is negative, is longer than the store's longest
        duration, or is 0 where that is not allowed.
    """
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
    if converted * 1000 > DURATION_MS_MAX:
        raise _bad(option, value, f"at most {DURATION_MS_MAX // 1000:,} s, 1,000 years")
    return converted


def check_int(option: str, value: object, least: int, most: int) -> int:
    """Return `value` if it is an int between `least` and `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _bad(option, value, f"an int from {least} to {most}")
    return value


def check_bool(option: str, value: object) -> None:
    """Check that `value` is True or False; a text such as "no" would count as true."""
    if not isinstance(value, bool):
        raise _bad(option, value, "True or False")


def check_loop(value: object) -> LoopName:
    """Return the name of an event loop."""
    for name in LOOPS:
        if value == name:
            return name
    raise _bad("loop", value, " or ".join(map(repr, LOOPS)))


def check_text(option: str, value: object) -> None:
    """Check that `value` is a string or None."""
    if value is not None and not isinstance(value, str):
        raise _bad(option, value, "a string")


def check_tags(value: object, *, reserved: bool = False) -> dict[str, str]:
    """Return tags as a dict of their own; the library's own only where `reserved` allows them."""
    if not isinstance(value, Mapping):
        raise _bad("tags", value, "a dict of strings")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise _bad("tags", value, f"a dict of strings, which {key!r}: {text!r} is not")
        if key.startswith(RESERVED) and not reserved:
            raise _bad("tags", value, f"without keys that start with {RESERVED!r}: {key!r}")
    return dict(value)


def check_retry(option: str, value: object) -> Retry:
    """Return `value` if it is a retry policy."""
    if isinstance(value, type) or not isinstance(value, Retry):
        raise _bad(option, value, "a policy, such as Exponential(), Constant(1, 5) or Never()")
    return value


def _bad(option: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"option {option}={value!r}: it must be {allowed}")


def _unknown(option: str, _: object) -> NoReturn:
    raise InvalidArgumentsError(
        f"there is no option {option!r}; the options are {', '.join(_CHECKS)}"
    )


def _id(option: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LIMITS.id_chars_max:
        raise _bad(option, value, f"a string of 1 to {LIMITS.id_chars_max} characters")
    return value


def _home(option: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= HOME_CHARS_MAX or "." in value:
        raise _bad(option, value, f"a string of 1 to {HOME_CHARS_MAX} characters without a dot")
    return value


def check_home(home: str, id: str) -> None:
    """Check that a call with an id of its own is to live where that id does.

    Raises
    ------
    ConfigurationError
        The home is not that of the id.
    """
    if home_of(id) != home:
        raise ConfigurationError(
            f"option home={home!r}: the id {id!r} has the home {home_of(id)!r}, which is its text "
            f"before the first dot. Write {f'{home}.{id}'!r} as the id, or leave out the home"
        )


def check_address(option: str, value: object) -> str:
    """Return the canonical spelling of the address of a group or a node."""
    if not isinstance(value, str):
        raise _bad(option, value, "a string, such as poll('group') or 'poll://group'")
    try:
        return canonical(value)
    except InvalidAddressError as error:
        raise ConfigurationError(f"option {option}={value!r}: {error}") from error


def _one_target(target: object, send_to: object) -> str:
    address = check_address("target", target)
    if address != check_address("send_to", send_to):
        raise ConfigurationError(
            f"options target={target!r} and send_to={send_to!r} differ: they mean the same thing, "
            "give one of them"
        )
    return address


def _retention(option: str, value: object) -> str:
    if isinstance(value, str):
        try:
            found = duration_ms(value)
        except ValueError as error:
            raise ConfigurationError(f"option {option}: {error}") from None
        return NEVER_PURGED if found is None else str(found)
    return str(int(seconds(option, value, zero=True) * 1000))


#: The field of `Options` that each keyword sets, and the check of its value. Any,
#: because the checks return different types.
_CHECKS: Final[dict[str, tuple[str, Any]]] = {
    "id": ("id", _id),
    "home": ("home", _home),
    "target": ("target", check_address),
    "send_to": ("target", check_address),
    "timeout": ("timeout_s", lambda option, value: seconds(option, value, zero=False)),
    "version": ("version", lambda option, value: check_int(option, value, 1, VERSION_MAX)),
    "tags": ("tags", lambda _, value: check_tags(value)),
    "retry": ("retry", check_retry),
    "delay": ("delay_s", lambda option, value: seconds(option, value, zero=True)),
    "priority": (
        "priority",
        lambda option, value: check_int(option, value, -PRIORITY_MAX, PRIORITY_MAX),
    ),
    "retention": ("retention", _retention),
}
