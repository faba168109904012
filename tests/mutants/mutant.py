"""What a mutant is: one small, named fault, as data."""

from __future__ import annotations

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


class Floor(NamedTuple):
    """Where the files of one floor are, and its tests: a short way to write its mutants down."""

    folder: str
    tests: str

    def mutant(
        self, name: str, property: int | None, breaks: str, file: str, old: str, new: str, *by: str
    ) -> Mutant:
        """`file` is named from the folder, and tests (`by`) from its own, or from the root."""
        named = tuple(each if each.startswith("tests/") else f"{self.tests}/{each}" for each in by)
        return Mutant(name, property, breaks, f"{self.folder}/{file}", old, new, named)
