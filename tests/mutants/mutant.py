"""What a mutant is: one small, named fault, as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

#: the numbered properties of docs/semantics.md
PROPERTIES: Final = range(1, 20)


class Mutant(NamedTuple):
    """A fault that the tests must notice.

    Fields
    ------
    property
        The number in docs/semantics.md that it breaks; None: a rule that has no number.
    breaks
        The rule, in words.
    file, old, new
        In which file of the four floors what stands exactly once is replaced by what.
    tests
        Files (or single tests) of which one must fail, the quickest first.
    """

    name: str
    property: int | None
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """`text` with the fault in it.

        Raises
        ------
        ValueError
            The old text does not stand there exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise ValueError(
                f"{self.name}: the old text stands {count} times in {self.file}, not once: "
                "the code has changed, so say the fault anew"
            )
        return text.replace(self.old, self.new)


def mutants_of(folder: str, tests: str) -> Callable[..., Mutant]:
    """A short way to write the mutants of one floor down.

    Parameters
    ----------
    folder, tests
        Where its files are, and its tests; tests that are elsewhere are named from the root.
    """

    def mutant(
        name: str, property: int | None, breaks: str, file: str, old: str, new: str, *by: str
    ) -> Mutant:
        named = tuple(each if each.startswith("tests/") else f"{tests}/{each}" for each in by)
        return Mutant(name, property, breaks, f"{folder}/{file}", old, new, named)

    return mutant
