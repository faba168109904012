"""The refresh of rows whose code has moved or been renamed.

A row that still fits, if only by renaming, gets the new names. For a row that does not, all
definitions of all floors are searched. The fragments must fit a definition that has clearly more in
common with the row than every other one: in the names of the fragments, and in those of the
function, the class and the module. A row whose place is not clear is reported and left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from tests.mutants.matches import Match, Mode, matches, written
from tests.mutants.mutant import Change, Mutant, Unfit, placed
from tests.mutants.places import Source, Span, Tree, target_of
from tests.mutants.rows import Fresh, rewritten
from tests.mutants.tokens import Token, render, tokens_of_fragment

#: The score that a place needs to be taken, and its lead over the second best.
_ENOUGH: Final = 1.5
_MARGIN: Final = 0.4
_WORTH_SAYING: Final = 0.8
#: A fragment with fewer names than this could fit another function by chance.
_TELLING: Final = 2
_MODES: Final[tuple[Mode, ...]] = ("literal", "renamed", "reached")

_Hits: TypeAlias = dict[Mode, list[Match]]


class Place(NamedTuple):
    """A definition that a row may be about, and how well it fits."""

    score: float
    fresh: Fresh
    file: str
    span: Span


class Refreshed(NamedTuple):
    """The outcome for a row; `fresh` is its new content, or None if the place is not clear."""

    mutant: Mutant
    fresh: Fresh | None
    told: str


def refresh(mutants: Sequence[Mutant], lists: Sequence[Path], tree: Tree) -> list[Refreshed]:
    """Rewrite the rows of the `lists` that need it; return the outcomes of these rows."""
    results = [result for mutant in mutants if (result := _refreshed(mutant, tree)) is not None]
    fresh = {each.mutant.name: each.fresh for each in results if each.fresh is not None}
    for path in lists:
        before = path.read_text()
        after = rewritten(before, fresh)
        if after != before:
            path.write_text(after)
    return results


def _refreshed(mutant: Mutant, tree: Tree) -> Refreshed | None:
    """Return the outcome for a row; None if the row is as it should be."""
    try:
        fresh = _in_place(mutant, tree)
        mutant.applied(tree)
    except Unfit as error:
        return _searched(mutant, tree, str(error))
    if fresh.changes == mutant.changes:
        return None
    return Refreshed(mutant, fresh, f"renamed in {mutant.target}: {_told(mutant, fresh)}")


def _in_place(mutant: Mutant, tree: Tree) -> Fresh:
    _, source, spans = mutant.located(tree)
    changes = []
    for change in mutant.changes:
        mode, match = placed(change, source, spans)
        changes.append(change if mode == "literal" else _as_written(change, source, match))
    return Fresh(mutant.target, tuple(changes))


def _as_written(change: Change, source: Source, match: Match) -> Change:
    """Return the same change with the names of the place."""
    old = render(source.text, source.tokens[match.start : match.end])
    return Change(old, None if change.new is None else written(change.new, match))


def _told(mutant: Mutant, fresh: Fresh) -> str:
    return "; ".join(
        f"{before.old!r} is {after.old!r}"
        for before, after in zip(mutant.changes, fresh.changes, strict=True)
        if before.old != after.old
    )


def _searched(mutant: Mutant, tree: Tree, why: str) -> Refreshed:
    places = [place for place in _places(mutant, tree) if place.score >= _WORTH_SAYING]
    places.sort(key=lambda place: -place.score)
    if not places:
        return Refreshed(mutant, None, f"{why}; nothing similar was found")
    best = places[0]
    second = places[1].score if len(places) > 1 else 0.0
    if best.score < _ENOUGH or best.score - second < _MARGIN:
        perhaps = ", ".join(f"{each.fresh.target} ({each.score:.1f})" for each in places[:3])
        return Refreshed(mutant, None, f"{why}; candidates: {perhaps}")
    try:
        mutant._replace(target=best.fresh.target, changes=best.fresh.changes).applied(tree)
    except Unfit as error:
        return Refreshed(mutant, None, f"a place was found, but {error}")
    told = f"{mutant.target} → {best.fresh.target}"
    words = _told(mutant, best.fresh)
    return Refreshed(mutant, best.fresh, f"{told}: {words}" if words else told)


def _places(mutant: Mutant, tree: Tree) -> Iterator[Place]:
    """Yield the definitions that all fragments fit; of nested ones, the innermost."""
    fragments = [tokens_of_fragment(change.old) for change in mutant.changes]
    for file in tree.files:
        source = tree.source(file)
        hits = [_hits(fragment, source) for fragment in fragments]
        if not all(any(each.values()) for each in hits):
            continue
        found = [
            place
            for span in source.spans
            if span.name and (place := _place(mutant, hits, file, source, span)) is not None
        ]
        for place in found:
            if not any(_within(other.span, place.span) for other in found):
                yield place


def _hits(fragment: list[Token], source: Source) -> _Hits:
    return {mode: matches(fragment, source.tokens, 0, len(source.tokens), mode) for mode in _MODES}


def _within(inner: Span, outer: Span) -> bool:
    return inner != outer and outer.start <= inner.start and inner.end <= outer.end


def _place(
    mutant: Mutant, hits: list[_Hits], file: str, source: Source, span: Span
) -> Place | None:
    found: list[Match] = []
    for each in hits:
        match = _best(each, span)
        if match is None:
            return None
        found.append(match)
    changes = tuple(
        _as_written(change, source, match)
        for change, match in zip(mutant.changes, found, strict=True)
    )
    target = target_of(file, span.name)
    olds = (tokens_of_fragment(change.old) for change in mutant.changes)
    names = {token.text for old in olds for token in old if token.free}
    alike = _alike(mutant.target, target)
    kept = min(match.kept for match in found)
    if len(names) < _TELLING and alike < 1:
        # It may fit by chance.
        kept = min(kept, 0.5)
    return Place(2 * kept + alike, Fresh(target, changes), file, span)


def _best(hits: _Hits, span: Span) -> Match | None:
    """Return the match with the most words in common, if it has a clear lead."""
    best: dict[int, Match] = {}
    for mode in _MODES:
        for match in hits[mode]:
            if span.start <= match.start and match.end <= span.end:
                before = best.get(match.start)
                if before is None or match.kept > before.kept:
                    best[match.start] = match
    found = sorted(best.values(), key=lambda match: -match.kept)
    if len(found) == 1 or (found and found[0].kept - found[1].kept >= _MARGIN / 2):
        return found[0]
    return None


def _alike(before: str, after: str) -> float:
    """Return how much two targets have in common; the last name counts most."""
    mine, its = before.split("."), after.split(".")
    shared = len(set(mine[:-1]) & set(its[:-1])) / max(len(mine), len(its))
    return (mine[-1] == its[-1]) + 0.7 * shared
