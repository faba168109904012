"""A call whose id was there already: whether it asks for what the call that is there does."""

from __future__ import annotations

import logging
from typing import Final

from understudy.errors import DecodingError
from understudy.values import Codec
from understudy_store.records import PromiseRecord, Value

#: ids that a process remembers, so as to say it once for each
TOLD_MAX: Final = 10_000


class DuplicateCalls:
    """Tells of calls that pass other arguments than the call of the same id, which keeps its own.

    Costs nothing as long as the bytes are the same. It says nothing where it cannot know: about
    pickled data, and where other arguments are left out or passed by name.
    """

    def __init__(self, codec: Codec, log: logging.Logger) -> None:
        self._codec = codec
        self._log = log
        self._told: set[str] = set()

    def check(self, found: PromiseRecord, asked: Value) -> None:
        """`found` is what `asked` came upon."""
        if found.param.data == asked.data or found.id in self._told or self._codec.pickle:
            return
        if len(self._told) >= TOLD_MAX or not self._differ(found.param.data, asked.data):
            return
        self._told.add(found.id)
        self._log.warning(
            "the call %r was made before, with other arguments: it keeps those, and this caller "
            "gets its result. For another call, take another id",
            found.id,
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
