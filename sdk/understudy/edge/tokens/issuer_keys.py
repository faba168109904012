"""The keys of one issuer that publishes them: fetched when they are needed, and not too often."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from understudy.edge.tokens.jwts import KeySet

#: Keys are fetched at most once in this time, however many unknown ones tokens name, seconds.
REFRESH_S: Final = 5.0
#: After this time they are fetched again anyway, so that a key that is withdrawn does not stay.
STALE_S: Final = 600.0
#: If that fails all the time, they are used for so long.
KEPT_S: Final = 86_400.0

_LOG: Final = logging.getLogger("understudy.edge")

#: returns the keys of an issuer; raises `UnderstudyError`
Fetch: TypeAlias = Callable[[str], Awaitable["KeySet"]]


class NoKeysError(UnderstudyError):
    """The keys of an issuer cannot be had now, so nothing can be said of its tokens."""


class IssuerKeys:
    """The keys of one issuer.

    Attributes
    ----------
    keys
        Those that were fetched last; none before that.
    """

    def __init__(self, issuer: str, fetch: Fetch) -> None:
        self.keys: KeySet = ()
        self._issuer = issuer
        self._fetch = fetch
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._problem: str | None = None
        self._fetching = trio.Lock()

    @property
    def is_stale(self) -> bool:
        """True if the keys were used, and are to be fetched again."""
        now = trio.current_time()
        is_known = self._fetched_at > -math.inf
        return is_known and now - max(self._fetched_at, self._tried_at) >= STALE_S

    async def refresh(self) -> None:
        """Fetch the keys, unless that was tried just now; requests at the same time share it.

        Raises
        ------
        NoKeysError
            The last attempt has failed. The keys before it stay, for a day.
        """
        async with self._fetching:
            if trio.current_time() - self._tried_at >= REFRESH_S:
                await self._try()
        if self._problem is not None:
            raise NoKeysError(
                f"the keys of the token's issuer cannot be fetched now: {self._problem}"
            )

    async def _try(self) -> None:
        self._tried_at = trio.current_time()
        try:
            self.keys = await self._fetch(self._issuer)
        except UnderstudyError as error:
            self._problem = str(error)
            _LOG.warning("the keys of %s cannot be fetched: %s", self._issuer, error)
            if trio.current_time() - self._fetched_at >= KEPT_S:
                self.keys = ()
        else:
            self._problem = None
            self._fetched_at = trio.current_time()
            _LOG.info("the keys of %s were fetched: %d", self._issuer, len(self.keys))
