"""The options of one call, written down once for every method that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypedDict

from understudy_actors.interpreter.ports import RetryPolicy


class CallOptions(TypedDict, total=False):
    """Keyword arguments of ``.options(...)``; one that is None counts as not given.

    A method takes them as ``**options: Unpack[CallOptions]``, so that type checkers know each by
    its name.

    Examples
    --------
    >>> urgent: CallOptions = {"priority": 100, "timeout": 5}
    >>> @runtime.register
    ... def ping(ctx):
    ...     return "pong"
    >>> runtime.options(**urgent).rpc("ping-1", ping).result()
    'pong'
    """

    #: the promise's id, instead of the one that follows from its place in the order of calls
    id: str | None
    #: home of the call: its id is ``{home}.{id}`` of the one that follows from its place, so it
    #: lives where that home does, with everything that it calls
    home: str | None
    #: the group or node that performs the call: ``"group"``, ``poll("group")``,
    #: ``"poll://uni@group/node"``
    target: str | None
    #: another name for `target`; if both are given, they must agree
    send_to: str | None
    #: seconds (or a timedelta) until the call's deadline
    timeout: float | timedelta | None
    #: version of the function; by default the highest that the node knows
    version: int | None
    #: the user's own tags, to search by
    tags: Mapping[str, str] | None
    #: retry policy, instead of the function's own
    retry: RetryPolicy | None
    #: seconds (or a timedelta) until the call is handed out
    delay: float | timedelta | None
    #: -100 to 100; a higher one goes first within its group
    priority: int | None
    #: how long the call graph is kept after its end: "7d", "never", seconds or a timedelta
    retention: str | float | timedelta | None
