"""Calls: the request that starts one, and the promise that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from understudy.edge.native.bodies import NOTHING
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.problems import Problem
from understudy.errors import EncodingError, PayloadTooLargeError
from understudy.options import LIMITS, PRIORITY_MAX
from understudy.runtime import DEFAULT_TIMEOUT_S
from understudy.tracing.headers import forwarded
from understudy.values import Codec
from understudy_actors.interpreter.child_commands import create_command, outside
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.addresses import InvalidAddressError, check_name, poll
from understudy_store.commands import PromiseCreate

#: the parameters of a request that starts a call
PARAMETERS: Final = (
    "id",
    "wait",
    "timeout",
    "delay",
    "version",
    "priority",
    "tag",
    "unknown",
)
#: Pickles are never made or read.
CODEC: Final = Codec()
NO_HEADERS: Final[Mapping[str, str]] = {}

_OUTSIDE: Final = outside(int(DEFAULT_TIMEOUT_S * 1000))


def group_name(text: str) -> str:
    """Return the name of a group, as a path has it; raises `Problem`."""
    try:
        return check_name(text, "group")
    except InvalidAddressError as error:
        raise Problem(400, str(error), parameter="group") from None


def idempotency_key(headers: list[bytes]) -> str | None:
    """Return the key of a request; None if it has none.

    Parameters
    ----------
    headers
        The values of all its headers ``Idempotency-Key``. Quotes around a key are left out.

    Raises
    ------
    Problem
        There are several, or it is empty or no UTF-8.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise Problem(400, "the header Idempotency-Key is given twice", header="idempotency-key")
    try:
        key = headers[0].decode().strip()
    except UnicodeDecodeError:
        key = ""
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise Problem(
            400,
            "the header Idempotency-Key is empty or no UTF-8: send a text of your choice, one for "
            "each call",
            header="idempotency-key",
        )
    return key


def call_id(
    group: str, function: str, parameters: Parameters, key: str | None, new_id: str
) -> tuple[str, str]:
    """Return the id of a call, and whence it comes: ``id``, ``key`` or ``new``.

    With an id of the client's own, the key says nothing more: some clients send one anyway.

    Parameters
    ----------
    new_id
        The id of a call for which the client has chosen none.

    Raises
    ------
    Problem
        A text that is no id.
    """
    id_ = parameters.text("id")
    if id_ is not None:
        return checked_id(id_), "id"
    if key is not None:
        return checked_id(f"{group}/{function}/{key}"), "key"
    return new_id, "new"


def checked_id(text: str) -> str:
    """Return an id that has a possible length; the store checks its characters."""
    if not 0 < len(text) <= LIMITS.id_chars_max:
        raise Problem(
            400,
            f"an id has 1 to {LIMITS.id_chars_max} characters, and this one has {len(text)}",
            parameter="id",
        )
    return text


def arguments_of(body: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments in a body: an object has them by name, an array by position.

    Raises
    ------
    Problem
        It is neither.
    """
    if body is NOTHING:
        return (), {}
    if isinstance(body, dict):
        return (), body
    if isinstance(body, list):
        return tuple(body), {}
    raise Problem(
        422,
        "the body has the arguments of the call: an object gives them by name, an array by "
        f"position, and this is {_kind(body)}",
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds: Mapping[type, str] = {bool: "a boolean", str: "a string"}
    return kinds.get(type(value), "a number")


def create_call(
    group: str,
    function: str,
    id_: str,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    parameters: Parameters,
    now_ms: int,
    headers: Mapping[str, str] = NO_HEADERS,
) -> PromiseCreate:
    """Return the command that begins a call; raises `Problem`.

    Parameters
    ----------
    now_ms
        The brokers' time.
    headers
        Those of the request, with names in small letters: the call goes on with their trace.
    """
    spec = call_spec("rpc", group, function, id_, arguments, parameters)
    spec.trace = forwarded(headers)
    return create_command(_OUTSIDE, spec, now_ms)


def call_spec(
    kind: str,
    group: str,
    function: str,
    id_: str,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    parameters: Parameters,
) -> CallSpec:
    """Return what is asked of a function; raises `Problem`."""
    spec = CallSpec(kind, id_, function, "")
    spec.target = poll(group)
    spec.version = parameters.version()
    spec.priority = parameters.integer("priority", -PRIORITY_MAX, PRIORITY_MAX)
    spec.tags = parameters.tags() or None
    timeout_s = parameters.seconds("timeout", zero=False)
    if timeout_s is not None:
        spec.timeout_ms = int(timeout_s * 1000)
    delay_s = parameters.seconds("delay")
    if delay_s is not None:
        spec.delay_ms = int(delay_s * 1000)
    spec.data = encoded_arguments(*arguments)
    return spec


def encoded_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return arguments as a node reads them; raises `Problem`."""
    try:
        return CODEC.encode_call(args, kwargs)
    except PayloadTooLargeError as error:
        raise Problem(413, str(error)) from None
    except EncodingError as error:
        raise Problem(422, str(error)) from None


def encoded_value(value: Any) -> bytes:
    """Return a value as those read it who wait for it; raises `Problem`."""
    try:
        return CODEC.encode_value(None if value is NOTHING else value)
    except PayloadTooLargeError as error:
        raise Problem(413, str(error)) from None
    except EncodingError as error:
        raise Problem(422, str(error)) from None


def timeout_ms_of(parameters: Parameters) -> int:
    """Return the timeout of a promise in milliseconds, by default that of calls."""
    timeout_s = parameters.seconds("timeout", zero=False)
    return int((DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s) * 1000)
