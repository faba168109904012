"""Tokens of Python text: of a file, or of a fragment that may begin and end anywhere.

`tokenize` of the standard library needs whole, valid files, so this is a small one of our own.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_STRING: Final = (
    r"(?:[rRbBuUfF]{1,2})?(?:"
    r'"""(?:\\.|[^\\])*?"""|'
    r"'''(?:\\.|[^\\])*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*')"
)
_NUMBER: Final = r"0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?[jJ]?"
_OPERATOR: Final = r"\*\*=|//=|>>=|<<=|\.\.\.|->|:=|\*\*|//|>>|<<|[-+*/%@&|^=!<>]=|[^\s\w]"
_TOKEN: Final = re.compile(
    rf"(?P<blank>[ \t\f]+|\\\n|#[^\n]*)|(?P<break>\n)|(?P<string>{_STRING})"
    rf"|(?P<number>{_NUMBER})|(?P<name>\w+)|(?P<operator>{_OPERATOR})",
    re.DOTALL,
)
_INDENT: Final = 4
#: Kinds of tokens for the layout of statements.
LAYOUT: Final = frozenset({"line", "in", "out"})
#: Names that mean the same everywhere, so that no renaming touches them.
FIXED: Final = frozenset({*keyword.kwlist, *dir(builtins), "self", "cls", "_"})
_BUILTIN_TYPES: Final = (
    bool, bytearray, bytes, dict, float, frozenset, int, list, memoryview, set, str, tuple,
    BaseException,
)  # fmt: skip
#: Attributes that need no definition in the product.
COMMON_ATTRIBUTES: Final = frozenset(name for each in _BUILTIN_TYPES for name in dir(each))


class Token(NamedTuple):
    """One token, or a piece of layout.

    Fields
    ------
    kind
        ``name``, ``number``, ``string`` or ``operator``; ``line`` is the end of a statement's line,
        ``in`` and ``out`` are the beginning and the end of a block.
    member
        An attribute or the name of a keyword argument, not a variable.
    optional
        A comma that may as well be missing.
    """

    kind: str
    text: str
    start: int
    end: int
    member: bool = False
    optional: bool = False

    @property
    def free(self) -> bool:
        """True if a renaming may change it."""
        if self.kind != "name":
            return False
        if self.member:
            return not self.text.startswith("__")
        return self.text not in FIXED


def tokens_of_file(text: str) -> list[Token]:
    """Return all tokens of a file, with its layout."""
    return _marked(_laid_out(text, 0, [0]), 0, fragment=False)


def tokens_of_fragment(text: str) -> list[Token]:
    """Return the tokens of a part of a file, without the layout at its ends.

    Its first line counts as the beginning of a statement, even if it begins in the middle of one.
    """
    depth = _open_before(text)
    indent = indent_of(text)
    found = _laid_out(text, depth, list(range(0, indent + 1, _INDENT)))
    while found and found[-1].kind in LAYOUT:
        found.pop()
    return _marked(found, depth, fragment=True)


def indent_of(text: str) -> int:
    """Return the indentation of the first line of a fragment."""
    return len(text) - len(text.lstrip(" "))


def render(text: str, tokens: Sequence[Token]) -> str:
    """Write `tokens` of `text` as a fragment: a line for each statement, indented from zero."""
    level = lowest = 0
    for token in tokens:
        level += (token.kind == "in") - (token.kind == "out")
        lowest = min(lowest, level)
    level = -lowest
    parts = [" " * (_INDENT * level)]
    before: Token | None = None
    for position, token in enumerate(tokens):
        if token.kind in LAYOUT:
            level += (token.kind == "in") - (token.kind == "out")
            before = None
            if position + 1 < len(tokens) and tokens[position + 1].kind not in LAYOUT:
                parts.append("\n" + " " * (_INDENT * level))
            continue
        if token.optional and position + 1 < len(tokens) and not _one_tuple(tokens, position):
            continue
        if before is not None:
            parts.append(_between(text, before, token))
        parts.append(token.text)
        before = token
    return "".join(parts)


def _between(text: str, before: Token, token: Token) -> str:
    if before.text in ("(", "[", "{") or token.text in (")", "]", "}"):
        return ""
    gap = text[before.end : token.start]
    return " " if gap.strip(" ") else gap


def _one_tuple(tokens: Sequence[Token], comma: int) -> bool:
    """Return whether the comma makes a tuple, so that it cannot be left out."""
    depth = 0
    for token in reversed(tokens[:comma]):
        depth += (token.text in (")", "]", "}")) - (token.text in ("(", "[", "{"))
        if depth < 0:
            return token.text == "("
        if depth == 0 and token.text == ",":
            return False
    return True


def _open_before(text: str) -> int:
    """Return the number of brackets that a fragment closes but does not open."""
    depth = lowest = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "operator":
            depth += _bracket(match[0])
            lowest = min(lowest, depth)
    return -lowest


def _bracket(text: str) -> int:
    return (text in ("(", "[", "{")) - (text in (")", "]", "}"))


def _laid_out(text: str, depth: int, indents: list[int]) -> list[Token]:
    found: list[Token] = []
    line = 0
    fresh = True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        start, end = match.span()
        if kind == "break":
            if depth <= 0 and not fresh:
                found.append(Token("line", "", start, start))
                fresh = True
            line = end
            continue
        if kind == "blank":
            if match[0].startswith("\\"):
                line = end
            continue
        if fresh:
            fresh = False
            indent = start - line
            if indent > indents[-1]:
                indents.append(indent)
                found.append(Token("in", "", start, start))
            while indent < indents[-1]:
                indents.pop()
                found.append(Token("out", "", start, start))
        if kind == "operator":
            depth += _bracket(match[0])
        found.append(Token(kind, match[0], start, end))
    found.extend(Token("out", "", len(text), len(text)) for _ in indents[1:])
    return found


def _marked(tokens: list[Token], depth: int, *, fragment: bool) -> list[Token]:
    """Yield the tokens with the properties that only their neighbors show."""
    marked: list[Token] = []
    for position, token in enumerate(tokens):
        before = tokens[position - 1].text if position else ""
        last = position + 1 == len(tokens)
        after = "" if last else tokens[position + 1].text
        if token.kind == "operator":
            depth += _bracket(token.text)
            closes = after in (")", "]", "}") or (fragment and last)
            if token.text == "," and closes:
                token = token._replace(optional=True)
        elif token.kind == "name":
            argument = depth > 0 and after == "=" and before in ("(", ",")
            if argument or before == ".":
                token = token._replace(member=True)
        marked.append(token)
    return marked


def names_of(tokens: Iterable[Token]) -> set[str]:
    """Return all names among the tokens."""
    return {token.text for token in tokens if token.kind == "name"}
