"""The translation of a message: a call, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from understudy.errors import PayloadTooLargeError
from understudy.queues.port import Message
from understudy.sources.template import IdTemplate, MissingFieldError
from understudy.tracing.headers import linked
from understudy_store.commands import PromiseCreate
from understudy_store.records import Value

#: Reasons why a message becomes no call, as the tag `poison` has them.
PoisonKind: TypeAlias = Literal[
    "no-id", "no-json", "wrong-shape", "too-large", "refused", "other-call"
]

#: The longest text of a header that becomes a tag, in characters.
_TAG_CHARS_MAX: Final = 2048


class Poison(NamedTuple):
    """The reason why a message becomes no call.

    Attributes
    ----------
    kind
        The reason in one word.
    reason
        The reason as the predicate of a sentence: "is no JSON: …".
    id
        The id that the template gives; None if it gives none.
    """

    kind: PoisonKind
    reason: str
    id: str | None


class MakeCall(Protocol):
    """Makes the command that stores a call.

    Raises `EncodingError` or `PayloadTooLargeError` if the arguments cannot travel.
    """

    def __call__(
        self, id: str, args: tuple[Any, ...], kwargs: dict[str, Any], tags: Mapping[str, str]
    ) -> PromiseCreate: ...


class Translator:
    """Makes calls of messages.

    The body is JSON, as the ``params`` of JSON-RPC: an array has the positional arguments, an
    object the arguments by name.

    Parameters
    ----------
    template
        Makes the ids.
    make_call
        Makes the commands.
    headers
        The headers that become tags of the same name.
    body_bytes_max
        Bytes of a body; a larger one is not even read.
    """

    def __init__(
        self,
        template: IdTemplate,
        make_call: MakeCall,
        headers: Sequence[str] = (),
        body_bytes_max: int = 4 * 1024 * 1024,
    ) -> None:
        self._template = template
        self._make_call = make_call
        self._headers = tuple(headers)
        self._body_bytes_max = body_bytes_max

    def translate(self, message: Message) -> PromiseCreate | Poison:
        """Return the command that stores the call of a message, or why there is none."""
        try:
            id = self._template.render(message)
        except MissingFieldError as error:
            return Poison("no-id", f"has no id: {error}", None)
        body = message.body
        if len(body) > self._body_bytes_max:
            allowed = f"at most {self._body_bytes_max:,} are allowed"
            return Poison("too-large", f"has {len(body):,} bytes; {allowed}", id)
        try:
            parameters = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Poison("no-json", f"is no JSON: {error}", id)
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(parameters, dict):
            kwargs = parameters
        elif isinstance(parameters, list):
            args = tuple(parameters)
        else:
            shape = "holds neither an array nor an object, whose items would be the arguments"
            return Poison("wrong-shape", shape, id)
        try:
            return _traced(self._make_call(id, args, kwargs, self._tags(message)), message)
        except PayloadTooLargeError as error:
            return Poison("too-large", f"is too large: {error}", id)
        except Exception as error:
            # Whatever a message is, it must not stop those behind it.
            return Poison("refused", f"cannot be sent: {error}", id)

    def _tags(self, message: Message) -> Mapping[str, str]:
        if not self._headers:
            return {}
        headers = message.headers
        return {name: headers[name][:_TAG_CHARS_MAX] for name in self._headers if headers.get(name)}


def _traced(create: PromiseCreate, message: Message) -> PromiseCreate:
    """Return the command with a link to the trace that the message is from, if it has one."""
    link = linked(message.headers)
    if not link:
        return create
    param = Value({**create.param.headers, **link}, create.param.data)
    return msgspec.structs.replace(create, param=param)
