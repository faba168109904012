"""The calls under way with their records, as the brokers have them: read, never taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

from understudy.cli.client import PAGE_MAX
from understudy.replays.record import Record
from understudy_actors.errors import CommandError
from understudy_store.addresses import InvalidAddressError, parse_target
from understudy_store.commands import PromiseSearch, Reply
from understudy_store.records import (
    HEADER_FUNCTION,
    PENDING,
    TAG_TARGET,
    PromiseRecord,
    origin_of,
)

#: calls whose records are read together
_BATCH: Final = 500
#: Searches that are asked for at a time. A broker answers one after the other, and refuses more
#: than 64 of one peer.
_SEARCHES_MAX: Final = 32


class Source(Protocol):
    """A place to read promises: a broker (`Client`), or the file of a store (`StoreFile`)."""

    def promises(self, *, state: str | None = None, prefix: str = "") -> Iterator[PromiseRecord]:
        """Search promises, in the order of their ids."""

    def commands(self, commands: Sequence[PromiseSearch]) -> Iterator[Reply | CommandError]:
        """Yield the replies to many searches, in order."""


def calls_under_way(
    source: Source,
    *,
    group: str,
    address: str,
    function: str | None = None,
    prefix: str = "",
    limit: int | None = None,
) -> Iterator[tuple[PromiseRecord, Record | CommandError]]:
    """Read the calls that nodes of a group are to go on with, each with all that is known of it.

    In the place of what is known there may be the broker's refusal to tell it.

    Parameters
    ----------
    group
        The name of the group.
    address
        Another address under which calls reach it: that of a task source.
    function, prefix
        The name of the function, and the beginning of the id; all by default.
    limit
        The most calls.
    """
    pending = source.promises(state=PENDING, prefix=prefix)
    tasks = islice(
        (
            promise
            for promise in pending
            if _is_for(promise.tags.get(TAG_TARGET, ""), group, address)
            and (function is None or promise.param.headers.get(HEADER_FUNCTION) == function)
        ),
        limit,
    )
    while batch := list(islice(tasks, _BATCH)):
        origins = dict.fromkeys(map(origin_of, batch))
        refused: dict[str, CommandError] = {}
        record = Record(record_of(source, list(origins), refused))
        for task in batch:
            # It may have settled since it was listed.
            yield record.find(task.id) or task, refused.get(origin_of(task), record)


def read_again(source: Source, task: PromiseRecord) -> tuple[PromiseRecord, Record] | None:
    """Read a call anew, with all that is known of it; None if it is no longer under way."""
    record = Record(record_of(source, [origin_of(task)]))
    found = record.find(task.id)
    return None if found is None or found.settled else (found, record)


def record_of(
    source: Source, origins: list[str], refused: dict[str, CommandError] | None = None
) -> list[PromiseRecord]:
    """Read all promises of call graphs, and the detached calls below them.

    Parameters
    ----------
    origins
        The ids of their roots.
    refused
        Takes the refusals by root; None: a refusal is raised.

    Raises
    ------
    CommandError
        The broker does not tell them to this identity.
    """
    # A detached call has an origin of its own, but its id is below its caller's.
    searches = [
        search
        for origin in origins
        for search in (
            PromiseSearch(origin=origin, limit=PAGE_MAX),
            PromiseSearch(prefix=f"{origin}.", limit=PAGE_MAX),
        )
    ]
    found: dict[str, PromiseRecord] = {}
    while searches:
        asked, searches = searches[:_SEARCHES_MAX], searches[_SEARCHES_MAX:]
        for search, reply in zip(asked, source.commands(asked), strict=True):
            if not isinstance(reply, Reply):
                if refused is None:
                    raise reply
                refused[search.origin or search.prefix.removesuffix(".")] = reply
                continue
            found.update((promise.id, promise) for promise in reply.promises or ())
            if reply.cursor is not None:
                searches.append(
                    PromiseSearch(
                        prefix=search.prefix,
                        origin=search.origin,
                        limit=PAGE_MAX,
                        cursor=reply.cursor,
                    )
                )
    return list(found.values())


def _is_for(target: str, group: str, address: str) -> bool:
    if not target:
        return False
    if target == address:
        return True
    try:
        return parse_target(target).group == group
    except InvalidAddressError:
        return False
