"""For whom the edge asks: the identity that the token of a request has, if tokens are asked for.

It is set where a request comes in, and read where its commands leave for the brokers. A request is
a task of its own, and the tasks that it starts inherit it. What outlives a request, or serves
several, remembers for whom it was begun.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

#: the identity of the request that runs; None: the edge asks for itself
ASKER: Final[ContextVar[str | None]] = ContextVar("understudy_asker", default=None)
