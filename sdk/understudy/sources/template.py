"""The template of ids: texts and fields of a message's position, as in ``{topic}-{offset}``."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping
from typing import Final

from understudy.errors import ConfigurationError
from understudy.queues.port import Message, QueueKind

#: the fields that every queue has
COMMON_FIELDS: Final = {
    "topic": "the name of the queue, topic or stream",
    "hash": "a hash of the content: equal messages are one call",
}
#: hexadecimal digits of a hash in an id
_HASH_DIGITS: Final = 32
#: A dot ends the home of an id (see docs/semantics.md), and children are numbered after one. So a
#: position may not bring one along.
_INSTEAD_OF_DOT: Final = ":"


class MissingFieldError(Exception):
    """A message lacks a field of its position that its id is made of."""


class IdTemplate:
    """Makes ids of positions.

    Parameters
    ----------
    text
        The template. A field stands in braces; braces of the text itself are doubled.
    kind
        The queue, which says which fields there are.

    Raises
    ------
    ConfigurationError
        The template is malformed, has a field that the queue lacks, or does not tell the messages
        of a queue apart.

    Examples
    --------
    >>> from understudy.queues.port import Message, QueueKind
    >>> kind = QueueKind("list", {"line": ""}, [frozenset({"line"})], "{topic}-{line}", "")
    >>> template = IdTemplate("{topic}/{line}", kind)
    >>> template.render(Message(0, None, {"topic": "a.txt", "line": "7"}, b""))
    'a:txt/7'
    """

    def __init__(self, text: str, kind: QueueKind) -> None:
        self.text = text
        known = {**COMMON_FIELDS, **kind.fields}
        self._parts = _parse(text, known, kind.name)
        names = {name for _, name in self._parts if name is not None}
        identities = [*kind.identities, frozenset({"hash"})]
        if not any(identity <= names for identity in identities):
            choices = " or ".join(
                "".join(f"{{{name}}}" for name in sorted(identity)) for identity in identities
            )
            raise ConfigurationError(
                f"the id {text!r} does not tell the messages of a {kind.name} queue apart, so "
                f"several would become one call: it needs {choices}"
            )
        self._names = names

    @property
    def shared_home(self) -> str | None:
        """The home that all ids share, because a dot comes before the first field; else None."""
        home = ""
        for literal, name in self._parts:
            before, dot, _ = literal.partition(".")
            home += before
            if dot:
                return home
            if name not in (None, "topic"):
                return None
            home += "" if name is None else "{topic}"
        return None

    def render(self, message: Message) -> str:
        """Return the id of a message.

        Raises
        ------
        MissingFieldError
        """
        return "".join(
            literal if name is None else literal + _value(message, name)
            for literal, name in self._parts
        )


def _parse(text: str, known: Mapping[str, str], queue: str) -> list[tuple[str, str | None]]:
    fields = ", ".join(f"{{{name}}}" for name in known)
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ConfigurationError(
            f"the id {text!r} is no template: {error}. Fields of a {queue} message: {fields}"
        ) from None
    for _, name, form, conversion in parsed:
        if name is not None and (name not in known or form or conversion):
            raise ConfigurationError(
                f"the id {text!r} has a field {{{name}}}, which a {queue} message has not. It has "
                f"{fields}"
            )
    return [(literal, name) for literal, name, _, _ in parsed]


def content_hash(body: bytes) -> str:
    """Return a hash of a message's content for an id."""
    return hashlib.sha256(body).hexdigest()[:_HASH_DIGITS]


def _value(message: Message, name: str) -> str:
    special = _SPECIAL.get(name)
    value = message.fields.get(name) if special is None else special(message)
    if not value:
        raise MissingFieldError(f"it has no {name}, of which its id is made")
    return value.replace(".", _INSTEAD_OF_DOT)


def _id_or_hash(message: Message) -> str:
    return message.fields.get("message_id") or content_hash(message.body)


_SPECIAL: Final[Mapping[str, Callable[[Message], str]]] = {
    "hash": lambda message: content_hash(message.body),
    "message_id_or_hash": _id_or_hash,
}
