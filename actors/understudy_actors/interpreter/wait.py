"""What a routine waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

#: no value yet: the run waits
NOTHING: Final = object()


class Wait:
    """Ready when `need` of `ids` have settled; `finish` then gives the value or raises."""

    __slots__ = ("finish", "need", "remaining")

    def __init__(self, ids: Iterable[str], need: int, finish: Callable[[], Any]) -> None:
        self.remaining = dict.fromkeys(ids)
        self.need = need
        self.finish = finish

    def hit(self, id: str) -> None:
        if id in self.remaining:
            del self.remaining[id]
            self.need -= 1

    @property
    def ready(self) -> bool:
        return self.need <= 0

    def wake_on(self) -> list[str]:
        """Ids of which one must settle before this can be ready.

        Where all remaining ones are needed, any single one will do, and the last is the likeliest
        to be late: so a wait for ten thousand costs one callback.
        """
        ids = list(self.remaining)
        return ids[-1:] if self.need >= len(ids) else ids
