"""Matches of a fragment in a file, up to consistent renaming, and the text that replaces them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from tests.mutants.tokens import (
    COMMON_ATTRIBUTES,
    FIXED,
    Token,
    indent_of,
    tokens_of_fragment,
)

#: How a fragment may differ from its match. ``literal``: not at all. ``renamed``: names may be
#: replaced, each by the same one everywhere. ``reached``: also, ``self.a.x`` may be ``self.b.c.x``.
Mode: TypeAlias = Literal["literal", "renamed", "reached"]
_Chain: TypeAlias = tuple[str, ...]


class Match(NamedTuple):
    """The tokens from `start` to before `end`, and the names there for the fragment's names.

    `kept` is the share of words in the names that are the same, from 0 to 1.
    """

    start: int
    end: int
    names: dict[tuple[bool, str], str]
    chains: dict[_Chain, _Chain]
    kept: float

    def of(self, token: Token) -> str:
        """Return the name in the file for a name in the fragment."""
        found = self.names.get((token.member, token.text))
        if found is None and token.member:
            # A fragment does not always show that a name belongs to a keyword argument.
            found = self.names.get((False, token.text))
        return token.text if found is None else found


def matches(
    fragment: Sequence[Token], tokens: Sequence[Token], start: int, end: int, mode: Mode
) -> list[Match]:
    """Find all places between two positions that `fragment` fits."""
    if not fragment:
        return []
    at: Callable[[Sequence[Token], Sequence[Token], int, int], Match | None]
    at = _literal if mode == "literal" else _renamed if mode == "renamed" else _reached
    first = fragment[0]
    found = []
    for position in range(start, end):
        token = tokens[position]
        if token.kind != first.kind or (token.text != first.text and not token.free):
            continue
        match = at(fragment, tokens, position, end)
        if match is not None:
            found.append(match)
    return found


def _literal(
    fragment: Sequence[Token], tokens: Sequence[Token], position: int, end: int
) -> Match | None:
    return _walk(fragment, tokens, position, end, lambda mine, its: mine.text == its.text)


def _renamed(
    fragment: Sequence[Token], tokens: Sequence[Token], position: int, end: int
) -> Match | None:
    names: dict[tuple[bool, str], str] = {}
    taken: dict[tuple[bool, str], str] = {}

    def alike(mine: Token, its: Token) -> bool:
        if not its.free or not mine.free:
            return mine.text == its.text and mine.kind == its.kind
        return (
            names.setdefault((its.member, mine.text), its.text) == its.text
            and taken.setdefault((its.member, its.text), mine.text) == mine.text
        )

    match = _walk(fragment, tokens, position, end, alike)
    if match is None or _torn(fragment, tokens, match):
        return None
    kept = _kept(((mine,), (its,)) for (_, mine), its in names.items())
    return match._replace(names=names, kept=kept)


def _torn(fragment: Sequence[Token], tokens: Sequence[Token], match: Match) -> bool:
    """Return whether a renamed name at an end of the match is only part of a dotted name.

    Then the match is chance: ``self.x`` may have become ``self.y.x``, but not its part ``self.y``.
    """
    first, last = tokens[match.start], tokens[match.end - 1]
    before = tokens[match.start - 1].text if match.start else ""
    after = tokens[match.end].text if match.end < len(tokens) else ""
    return (first.kind == "name" and before == "." and first.text != fragment[0].text) or (
        last.kind == "name" and after == "." and last.text != fragment[-1].text
    )


def _walk(
    fragment: Sequence[Token],
    tokens: Sequence[Token],
    position: int,
    end: int,
    alike: Callable[[Token, Token], bool],
) -> Match | None:
    start, mine = position, 0
    last = position
    while mine < len(fragment):
        its = tokens[position] if position < end else None
        wanted = fragment[mine]
        if its is not None and wanted.kind == its.kind and alike(wanted, its):
            mine += 1
            position += 1
            last = position
        elif its is not None and its.optional and mine:
            position += 1
        elif wanted.optional:
            mine += 1
        else:
            return None
    return Match(start, last, {}, {}, 1.0)


def _reached(
    fragment: Sequence[Token], tokens: Sequence[Token], position: int, end: int
) -> Match | None:
    chains: dict[_Chain, _Chain] = {}
    taken: dict[_Chain, _Chain] = {}
    if position and tokens[position - 1].text == ".":
        return None
    start, mine = position, 0
    while mine < len(fragment):
        if position >= end:
            return None
        wanted, after = _chain(fragment, mine, len(fragment))
        its, beyond = _chain(tokens, position, end)
        if wanted and its and not (_fixed(wanted) or _fixed(its)):
            if chains.setdefault(wanted, its) != its or taken.setdefault(its, wanted) != wanted:
                return None
            mine, position = after, beyond
        elif _same(fragment[mine], tokens[position]):
            mine, position = mine + 1, position + 1
        elif tokens[position].optional and mine:
            position += 1
        elif fragment[mine].optional:
            mine += 1
        else:
            return None
    return Match(
        start, position, {}, dict(_prefix(*pair) for pair in chains.items()), _kept(chains.items())
    )


def _same(mine: Token, its: Token) -> bool:
    return mine.kind == its.kind and mine.text == its.text


def _fixed(chain: _Chain) -> bool:
    return len(chain) == 1 and chain[0] in FIXED


def _chain(tokens: Sequence[Token], position: int, end: int) -> tuple[_Chain, int]:
    """Return the dotted name at a position, if there is one, and the position after it."""
    if tokens[position].kind != "name":
        return (), position
    names = [tokens[position].text]
    position += 1
    while (
        position + 1 < end and tokens[position].text == "." and tokens[position + 1].kind == "name"
    ):
        names.append(tokens[position + 1].text)
        position += 2
    return tuple(names), position


def _prefix(mine: _Chain, its: _Chain) -> tuple[_Chain, _Chain]:
    """Remove the common end of two dotted names."""
    while len(mine) > 1 and len(its) > 1 and mine[-1] == its[-1]:
        mine, its = mine[:-1], its[:-1]
    return mine, its


def _kept(pairs: Iterable[tuple[_Chain, _Chain]]) -> float:
    """Return the share of words in dotted names that are the same."""
    shares = []
    for mine, its in pairs:
        before, after = _words(mine), _words(its)
        both = (before | after).total()
        shares.append((before & after).total() / both if both else 1.0)
    return sum(shares) / len(shares) if shares else 1.0


def _words(chain: _Chain) -> Counter[str]:
    words = Counter(word for name in chain if name != "self" for word in name.split("_"))
    del words[""]
    return words


def written(new: str, match: Match) -> str:
    """Return the fragment `new` with the names that are in use at a match."""
    tokens = tokens_of_fragment(new)
    parts, done, position = [], 0, 0
    while position < len(tokens):
        token = tokens[position]
        text = token.text
        after = position + 1
        if match.chains:
            chain, beyond = _chain(tokens, position, len(tokens))
            for length in range(len(chain), 0, -1):
                its = match.chains.get(chain[:length])
                if its is not None and not token.member:
                    text, after = ".".join((*its, *chain[length:])), beyond
                    break
        elif token.kind == "name":
            text = match.of(token)
        if token.start != token.end:
            parts += [new[done : token.start], text]
            done = tokens[after - 1].end
        position = after
    return "".join(parts) + new[done:]


def unknown_names(old: str, new: str, known: set[str]) -> list[str]:
    """Return the names in `new` that are neither in `old` nor `known` nor assigned by `new`."""
    tokens = tokens_of_fragment(new)
    mine = {(token.member, token.text) for token in tokens_of_fragment(old)}
    made = _made(tokens)
    return [
        token.text
        for token in tokens
        if token.free
        and (token.member, token.text) not in mine
        and token.text not in known
        and token.text not in made
        and not (token.member and token.text in COMMON_ATTRIBUTES)
    ]


def _made(tokens: Sequence[Token]) -> set[str]:
    """Return the variables that a fragment assigns itself."""
    made = set()
    for before, token, after in zip([None, *tokens[:-1]], tokens, [*tokens[1:], None], strict=True):
        if token.kind != "name" or token.member:
            continue
        assigned = after is not None and after.text in ("=", ":=")
        if assigned or (before is not None and before.text in ("for", "as", "lambda")):
            made.add(token.text)
    return made


def indented(new: str, old: str, base: int, *, whole_line: bool) -> str:
    """Indent the lines of `new` as those of `old` are indented at column `base` of the file.

    If `whole_line`, the first line is indented too, because it replaces one from its beginning.
    """
    shift = base - indent_of(old)
    first, *rest = new.split("\n")
    lines = [" " * (shift + indent_of(line)) + line.lstrip(" ") if line else "" for line in rest]
    start = " " * (shift + indent_of(first)) if whole_line else ""
    return "\n".join([start + first.lstrip(" "), *lines])
