"""The condition under which a waiting routine goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final


class Wait:
    """A wait for `need` of the promises `ids`.

    Parameters
    ----------
    ids
        Ids of promises that have not settled.
    need
        How many of them must settle; 0 if the wait is over at once.
    finish
        Called when the wait is over: returns the value that the function gets, or another `Wait`,
        or raises the error that is thrown into the function.
    """

    __slots__ = ("finish", "need", "remaining")

    def __init__(self, ids: Iterable[str], need: int, finish: Callable[[], Any]) -> None:
        self.remaining = dict.fromkeys(ids)
        self.need = need
        self.finish = finish

    def ids(self) -> list[str]:
        """Return the ids of all promises that count for the wait."""
        return list(self.remaining)

    def hit(self, id: str) -> None:
        """Count a promise that has settled; once, however often it is told."""
        if id in self.remaining:
            del self.remaining[id]
            self.need -= 1

    @property
    def ready(self) -> bool:
        return self.need <= 0

    def wake_on(self) -> list[str]:
        """Return ids of which at least one must settle before the wait can be over.

        If all that remain are needed, any single one will do. The last is the most likely to
        settle late, so a wait for ten thousand promises costs one callback.
        """
        ids = list(self.remaining)
        return ids[-1:] if self.need >= len(ids) else ids


def kept(value: Any, error: BaseException | None) -> Callable[[], Any]:
    """Return a `finish` that returns `value`, or raises `error` if there is one."""

    def finish() -> Any:
        if error is not None:
            raise error
        return value

    return finish


def endless() -> Wait:
    """Return the wait of somebody who is going to be let go."""
    return Wait(("",), 1, kept(None, None))


#: The end of a step, for the next one to go on at once: on the loop of a coroutine, say.
GO_ON: Final = Wait((), 0, kept(None, None))
