"""The commands of a source, made with the functions and the clock of a runtime's environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from understudy.client.calls import client_call, promise_of
from understudy.client.node_environment import NodeEnvironment
from understudy.errors import DecodingError
from understudy.options import Options
from understudy_actors.error_classes import error_class
from understudy_store.commands import PromiseCreate, PromiseSettle
from understudy_store.records import (
    HEADER_ERROR,
    HEADER_FUNCTION,
    HEADER_KIND,
    REJECTED,
    TAG_EXTERNAL,
    TRUE,
    PromiseRecord,
    Value,
)

#: bytes of a poison message that its promise keeps as a value, for a repair
KEPT_BYTES_MAX: Final = 64 * 1024


class Commands:
    """Makes the commands of one source.

    Parameters
    ----------
    env
        The environment of the runtime that sends them.
    function
        The name of the function that the messages call.
    options
        The options of every call; the group among them.
    tags
        Tags of everything that is stored.
    """

    def __init__(
        self,
        env: NodeEnvironment,
        function: str,
        options: Options,
        tags: Mapping[str, str],
    ) -> None:
        self._env = env
        self._function = function
        self._options = options
        self._tags = {**tags, **(options.tags or {})}

    def call(
        self, id: str, args: tuple[Any, ...], kwargs: dict[str, Any], tags: Mapping[str, str]
    ) -> PromiseCreate:
        """Return the command that stores a call; see `translator.MakeCall`."""
        call = client_call(self._env, self._options, "rpc", self._function, args, kwargs)
        call.spec.tags = {**tags, **self._tags} if tags else self._tags
        return promise_of(self._env, call, id)

    def record(self, id: str, tags: Mapping[str, str], body: bytes) -> PromiseCreate:
        """Return the command that creates a promise for a poison message.

        The promise has the content as its value, or as much of it as is kept.
        """
        env = self._env
        data = env.values.encode_value(body[:KEPT_BYTES_MAX], "the message")
        param = Value({HEADER_KIND: "promise"}, data)
        all_tags = {**self._tags, **tags, TAG_EXTERNAL: TRUE}
        return PromiseCreate(id, env.now_ms() + env.timeout_ms, param, all_tags)

    def rejection(self, id: str, text: str) -> PromiseSettle:
        """Return the command that rejects it, with a RuntimeError of this text."""
        error = RuntimeError(text)
        data = self._env.values.encode_error(error)
        return PromiseSettle(id, REJECTED, Value({HEADER_ERROR: error_class(error)}, data))

    def alike(self, found: PromiseRecord, asked: PromiseCreate) -> bool:
        """Return whether a promise is the call of a command.

        A promise whose arguments cannot be read any more is given the benefit of the doubt.
        """
        headers = found.param.headers
        if headers.get(HEADER_FUNCTION) != asked.param.headers.get(HEADER_FUNCTION):
            return False
        one, other = found.param.data, asked.param.data
        if one == other or one is None or other is None:
            return True
        try:
            decode = self._env.values.codec.decode_call
            return decode(one) == decode(other)
        except (DecodingError, RecursionError):
            return False
