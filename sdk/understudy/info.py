"""The facts about the run of a function, as ``ctx.info``."""

from __future__ import annotations

from typing import NamedTuple

from understudy_store.records import TAG_IDENTITY


class Info(NamedTuple):
    """Facts about the run of a function, as ``ctx.info``.

    Attributes
    ----------
    attempt : int
        The number of the attempt, from 1. It grows with every failure that is tried again, and not
        when a node dies.
    timeout : float
        The deadline of the call, in seconds since the epoch.
    tags : dict of str to str
        The tags of the call.
    version : int
        The version of the function.

    Examples
    --------
    >>> @runtime.register(version=3)
    ... def describe(ctx):
    ...     return ctx.info.attempt, ctx.info.version
    >>> runtime.rpc("describe-1", describe).result()
    (1, 3)
    """

    attempt: int
    timeout: float
    tags: dict[str, str]
    version: int

    @property
    def caller(self) -> str | None:
        """The identity that has made the call, as the broker knows it by its key.

        None, if the broker had no keys when the call was made. Do not rely on it with a broker
        without keys: there anybody may give a call any tags.

        Examples
        --------
        >>> @runtime.register
        ... def who(ctx):
        ...     return ctx.info.caller
        >>> print(runtime.rpc("who-1", who).result())
        None
        """
        return self.tags.get(TAG_IDENTITY)
