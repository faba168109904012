"""Watch of an app's import: values that have to differ in each process.

Forked processes are copies. So a fork server watches the import of its app:

- A generator of `random.Random` that was seeded by chance gets a new seed in each child; one that
  the app has seeded itself stays as it is.
- An app that reads its process id, or draws random bytes or numbers, such as for a `uuid4`, has
  made a value that nobody can find again. It is not forked, and each process imports it by itself.

Only the app's own code counts. Installed packages know of forks, or have the same bug elsewhere.
"""

from __future__ import annotations

import os
import random
import sys
import sysconfig
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

_OURS: Final = ("understudy", "understudy_actors", "understudy_broker", "understudy_store")
_STDLIB: Final = tuple({*map(sysconfig.get_path, ("stdlib", "platstdlib"))})
_PACKAGES: Final = tuple({*map(sysconfig.get_path, ("purelib", "platlib"))})


class ImportWatch:
    """Watches from its making until `finish`.

    Attributes
    ----------
    finding
        What the app has read or drawn first, and where; None: nothing.
    """

    def __init__(self) -> None:
        self.finding: str | None = None
        self._generators: dict[int, weakref.ref[random.Random]] = {}
        self._random_state = random.getstate()
        self._originals: list[tuple[Any, str, Any]] = []
        self._replace(os, "getpid", self._reading_pid)
        self._replace(os, "urandom", self._drawing)
        # `secrets` and `SystemRandom` have a name of their own for it.
        self._replace(random, "_urandom", self._drawing)
        self._replace(random.Random, "seed", self._seeding)

    def finish(self) -> None:
        """Stop watching."""
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        if self.finding is None and random.getstate() != self._random_state:
            self.finding = "draws random numbers"

    def reseed(self) -> None:
        """Seed anew, in a forked child, the generators that were seeded by chance."""
        for found in self._generators.values():
            generator = found()
            if generator is not None:
                generator.seed()

    def _replace(
        self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        original = getattr(owner, name)
        self._originals.append((owner, name, original))
        setattr(owner, name, make(original))

    def _reading_pid(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def getpid() -> Any:
            # Only a direct call: `logging`, for one, reads it for each line.
            self._note(sys._getframe(1), "reads its process id")
            return original()

        return getpid

    def _drawing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def urandom(size: int, /) -> Any:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and _is_stdlib(frame.f_code.co_filename):
                if frame.f_code.co_name == "<module>":
                    # A module of the standard library draws it while it is imported, as
                    # `multiprocessing` does, and it may be the same in each process.
                    return original(size)
                frame = frame.f_back
            self._note(frame, "draws random bytes")
            return original(size)

        return urandom

    def _seeding(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
            original(generator, a, version)
            if a is None:
                self._generators[id(generator)] = weakref.ref(generator)
            else:
                self._generators.pop(id(generator), None)

        return seed

    def _note(self, frame: FrameType | None, what: str) -> None:
        if self.finding is not None or frame is None:
            return
        file = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if file.startswith((*_STDLIB, *_PACKAGES, "<")) or package in _OURS:
            return
        self.finding = f"{what} ({Path(file).name}, line {frame.f_lineno})"


def _is_stdlib(file: str) -> bool:
    return file.startswith((*_STDLIB, "<frozen")) and not file.startswith(_PACKAGES)
