"""The ids of children: readable for the usual depths, and bounded beyond.

The n-th call of the run ``x`` is ``x.n``, so an id shows the way down to its call. A chain of calls
(recursion, or a function that hands over to itself) would outgrow what the store takes as an id.
From there on, an id keeps its beginning, by which a search for the root's id still finds it, and a
digest stands for the rest: ``tick.1.1.1~5d41402abc4b2a76b9719d911017c592.1``. It is as
deterministic as the readable one. Ids that the store has always taken are never shortened, so that
calls recorded by an earlier release go on.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from understudy_store.limits import ID_CHARS_MAX

#: characters that a shortened id keeps of its caller's id
KEPT_CHARS: Final = 256
_DIGEST_BYTES: Final = 16


def child_id(parent: str, number: int) -> str:
    """Return the id of the call with this number, from 1, that the run `parent` makes."""
    id = f"{parent}.{number}"
    if len(id) <= ID_CHARS_MAX:
        return id
    digest = blake2b(parent.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{parent[:KEPT_CHARS]}~{digest.hexdigest()}.{number}"
