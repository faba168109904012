"""A warning for calls that reuse an id with different arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy.errors import DecodingError
from understudy.values import Codec
from understudy_store.records import PromiseRecord, Value

#: Ids to remember, so that the warning comes once for each.
WARNED_MAX: Final = 10_000


class DuplicateCalls:
    """Warns of calls whose arguments differ from those of the call that has their id.

    Equal bytes are equal arguments, so the usual case costs one comparison. There is no warning
    where a difference cannot be told: for pickled values, and if other parameters are left out or
    passed by name.

    Parameters
    ----------
    codec
        Decodes the arguments.
    warn
        Logs a warning.
    """

    def __init__(self, codec: Codec, warn: Callable[[str], None]) -> None:
        self._codec = codec
        self._warn = warn
        self._warned: set[str] = set()

    def check(self, found: PromiseRecord, asked: Value) -> None:
        """Compare the promise that exists with the call that was made under its id."""
        if found.param.data == asked.data or found.id in self._warned or self._codec.pickle:
            return
        if len(self._warned) >= WARNED_MAX or not self._differ(found.param.data, asked.data):
            return
        self._warned.add(found.id)
        self._warn(
            f"the call {found.id!r} was made before, with other arguments: it keeps the original "
            "ones, and this caller gets its result. Use a new id for a new call"
        )

    def _differ(self, one: bytes | None, other: bytes | None) -> bool:
        if one is None or other is None:
            return False
        try:
            (args, kwargs), (new_args, new_kwargs) = map(self._codec.decode_call, (one, other))
            alike = len(args) == len(new_args) and kwargs.keys() == new_kwargs.keys()
            return alike and (args != new_args or kwargs != new_kwargs)
        except (DecodingError, RecursionError):
            return False
