"""The way of one message to the store: commands out, answers in, until it is filed.

A message is *filed* when its call is stored, or when a promise says that it became none. That
promise is created and rejected, two commands of which the second waits for the first: so a promise
that is somebody else's is never settled. If the source dies between the two, the message comes
again, and the promise that exists is rejected then.

The promise has the id that the call would have had. If that is no id, or belongs to something else,
it has an id made of a hash of the message instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from understudy.errors import CommandError, PayloadTooLargeError
from understudy.queues.port import Message
from understudy.sources.template import content_hash
from understudy.sources.translator import Poison, Translator
from understudy_store.commands import PromiseCreate, PromiseSettle, Reply
from understudy_store.records import HEADER_FUNCTION, PENDING, PromiseRecord

#: the tag of a promise that records a poison message: the kind of the poison
TAG_POISON: Final = "poison"
#: the tag of such a promise that tells messages apart: a hash of the content
TAG_CONTENT: Final = "poison-content"
#: the tag of everything that a source has stored: the queue
TAG_SOURCE: Final = "source"

#: bytes of a message that its error shows
SHOWN_BYTES_MAX: Final = 200
#: Statuses of a command that will never be carried out as it is.
_HOPELESS: Final = frozenset({400, 413})
_CREATED: Final = 201
#: status of what is about a promise that was deleted
_PURGED: Final = 410
#: ids that a record may try; only somebody who takes them on purpose gets a source so far
_IDS_MAX: Final = 9

Command: TypeAlias = PromiseCreate | PromiseSettle
#: the ends of a message: a new call, a call that was there, or a record of its failure
Filed: TypeAlias = Literal["stored", "known", "poison"]
#: the answer to a command; an exception if it was refused or not answered
Answer: TypeAlias = Reply | BaseException


class Later(NamedTuple):
    """The command is to be sent again later, because of trouble that is not the message's fault."""

    command: Command
    reason: str


class Forms(Protocol):
    """Makes the commands about promises that record poison messages, and compares calls."""

    def record(self, id: str, tags: Mapping[str, str], body: bytes) -> PromiseCreate:
        """Return the command that creates the promise."""
        ...

    def rejection(self, id: str, text: str) -> PromiseSettle:
        """Return the command that rejects it."""
        ...

    def alike(self, found: PromiseRecord, asked: PromiseCreate) -> bool:
        """Return whether a promise is the call of a command: the same function and arguments."""
        ...


class Filing:
    """The way of one message.

    Parameters
    ----------
    place
        The queue, as the tag and the id of a poison message have it.

    Attributes
    ----------
    poison
        The reason why the message becomes no call, once that is known.
    """

    __slots__ = ("message", "poison", "_command", "_forms", "_ids", "_place", "_translator")

    def __init__(self, message: Message, translator: Translator, forms: Forms, place: str) -> None:
        self.message = message
        self.poison: Poison | None = None
        self._translator = translator
        self._forms = forms
        self._place = place
        self._command: Command
        self._ids: Iterator[str] = iter(())

    def begin(self) -> Command:
        """Return the first command."""
        made = self._translator.translate(self.message)
        if isinstance(made, Poison):
            return self._poisoned(made)
        self._command = made
        return made

    def answered(self, answer: Answer) -> Command | Filed | Later:
        """Take the answer to the last command; return the next one, or how the message ended."""
        command = self._command
        if isinstance(answer, BaseException):
            return self._refused(command, answer)
        if isinstance(command, PromiseSettle):
            return "poison"
        found = answer.promise
        if answer.status == _CREATED or found is None:
            return "stored" if self.poison is None else self._reject(command.id)
        if self.poison is not None:
            return self._recorded(found)
        if self._forms.alike(found, command):
            return "known"
        name = found.param.headers.get(HEADER_FUNCTION)
        what = f"a call of {name!r}, with other arguments" if name else "something else"
        return self._poisoned(
            Poison("other-call", f"has the id {found.id!r}, which belongs to {what}", None)
        )

    def _refused(self, command: Command, error: BaseException) -> Command | Filed | Later:
        status = getattr(error, "status", None) if isinstance(error, CommandError) else None
        if isinstance(error, PayloadTooLargeError):
            status = 413
        if status == _PURGED:
            # The message is a repetition of one whose call has ended long ago.
            return "known" if self.poison is None else "poison"
        if status not in _HOPELESS or isinstance(command, PromiseSettle):
            return Later(command, str(error) or type(error).__name__)
        if self.poison is not None:
            return self._next_record(str(error))
        kind: Literal["too-large", "refused"] = "too-large" if status == 413 else "refused"
        return self._poisoned(Poison(kind, f"makes no call: {error}", command.id))

    # Poison --------------------------------------------------------------------------------------

    def _poisoned(self, poison: Poison) -> Command:
        self.poison = poison
        own = self._own_id()
        ids = [own, *(f"{own}-{number}" for number in range(2, _IDS_MAX))]
        if poison.id is not None:
            ids.insert(0, poison.id)
        self._ids = iter(ids)
        return self._record(poison, next(self._ids))

    def _record(self, poison: Poison, id: str) -> Command:
        body = self.message.body
        tags = {
            TAG_SOURCE: self._place,
            TAG_POISON: poison.kind,
            TAG_CONTENT: content_hash(body),
        }
        self._command = self._forms.record(id, tags, body)
        return self._command

    def _next_record(self, reason: str) -> Command | Later:
        """Try the next id for the record."""
        assert self.poison is not None
        id = next(self._ids, None)
        return Later(self._command, reason) if id is None else self._record(self.poison, id)

    def _recorded(self, found: PromiseRecord) -> Command | Filed | Later:
        """Go on with a promise that exists: it may record this message, or be something else."""
        assert isinstance(self._command, PromiseCreate)
        same = (TAG_SOURCE, TAG_CONTENT)
        if any(found.tags.get(tag) != self._command.tags[tag] for tag in same):
            return self._next_record(f"the id {found.id!r} belongs to something else")
        return self._reject(found.id) if found.state == PENDING else "poison"

    def _reject(self, id: str) -> Command:
        self._command = self._forms.rejection(id, self.describe())
        return self._command

    def describe(self) -> str:
        """Return what is wrong with the message, with its position and its first bytes."""
        assert self.poison is not None
        return f"{position(self.message)} {self.poison.reason}. {beginning(self.message.body)}"

    def _own_id(self) -> str:
        """Return an id made of all that is known of the message."""
        text = repr((self._place, sorted(self.message.fields.items(), key=str)))
        return f"poison-{content_hash(text.encode('utf-8', 'surrogatepass') + self.message.body)}"


def position(message: Message) -> str:
    """Return the position of a message for people: "the message with partition 0, offset 7".

    The sender may have made a part of it, so it is one line in which nothing commands a terminal.
    """
    known = [
        f"{name} {value if value.isprintable() else repr(value)}"
        for name, value in message.fields.items()
        if value
    ]
    return f"the message with {', '.join(known)}" if known else "a message without a position"


def beginning(body: bytes) -> str:
    """Return the size and the first bytes of a body, for people."""
    if not body:
        return "It is empty"
    shown = body[:SHOWN_BYTES_MAX]
    begins = "is" if len(shown) == len(body) else "begins with"
    return f"Its content has {len(body):,} bytes and {begins} {shown!r}"
