"""The ids of children: readable for the usual depths, and bounded beyond.

The n-th call of the run ``x`` is ``x.n``, so an id shows the way down to its call. A chain of calls
(recursion, or a function that hands over to itself) would outgrow what the store takes as an id.
From there on, an id keeps its beginning, by which a search for the root's id still finds it, and a
digest stands for the rest: ``tick.1.1.1~5d41402abc4b2a76b9719d911017c592.1``. It is as
deterministic as the readable one. Ids that the store has always taken are never shortened, so that
calls recorded by an earlier release go on.

So an id begins with its caller's, and has the same home (see `understudy_store.slots`): a call
graph lives in one place. The option `home` puts a call and everything below it elsewhere:
``part-3.order-7.2``. There is one exception, which is as old as shortened ids: where a home itself
has more than `HOME_CHARS_MAX` characters, a shortened id keeps only a part of it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from understudy_store.limits import ID_CHARS_MAX
from understudy_store.slots import home_of

#: characters that a shortened id keeps of its caller's id
KEPT_CHARS: Final = 256
#: characters of a home that a shortened id has whole, with the dot after it
HOME_CHARS_MAX: Final = KEPT_CHARS - 1
_DIGEST_BYTES: Final = 16


def child_id(parent: str, number: int) -> str:
    """Return the id of the call with this number, from 1, that the run `parent` makes."""
    id = f"{parent}.{number}"
    if len(id) <= ID_CHARS_MAX:
        return id
    return f"{_shortened(parent)}.{number}"


def id_at(home: str, id: str) -> str:
    """Return the id that a call has at `home` instead of `id`, which follows from its place.

    The home has at most `HOME_CHARS_MAX` characters. A call that lives there anyway keeps its id.
    """
    if home_of(id) == home:
        return id
    moved = f"{home}.{id}"
    return moved if len(moved) <= ID_CHARS_MAX else _shortened(moved)


def _shortened(id: str) -> str:
    digest = blake2b(id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{id[:KEPT_CHARS]}~{digest.hexdigest()}"
