"""Reads what pages show: in few questions, and never more than a page has room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from understudy.ui.facts import BrokerFacts, CallFacts, NowFacts, Throughput
from understudy.ui.overview import has_trouble
from understudy.ui.ports import Port, RefusedError
from understudy.views.call_graph import Node, build, lines
from understudy.views.progress import progress_of_promises
from understudy_broker.protocol.messages import OwnCommand
from understudy_store.commands import (
    PromiseGet,
    PromiseSearch,
    Reply,
    TaskAttempts,
    TaskGet,
    TaskSearch,
)
from understudy_store.records import (
    DETACHED,
    PENDING,
    REJECTED,
    TAG_EXTERNAL,
    TAG_SCOPE,
    TAG_TARGET,
    TRUE,
    PromiseRecord,
    origin_of,
)

#: promises of a call graph that a page reads, besides some that are pending or have failed
GRAPH_MAX: Final = 1000
#: pending and failed promises of a large graph that are read besides
NOTABLE_MAX: Final = 100
#: calls whose tasks are read
TASKS_MAX: Final = 500
#: calls whose attempt logs are read
LOGS_MAX: Final = 40
#: tasks that are looked at in search of problems
PARKED_MAX: Final = 200
QUEUED_MAX: Final = 100
#: groups with trouble whose queues are looked at
TROUBLED_MAX: Final = 20


async def read_now(
    port: Port, brokers: Sequence[BrokerFacts], throughput: Throughput
) -> NowFacts | None:
    """Read the state of the deployment; None if a file is shown.

    Raises
    ------
    AwayError, RefusedError
    """
    report = await port.groups()
    if report is None:
        return None
    troubled = [group.name for group in report.groups if has_trouble(group) and group.queued]
    commands: list[OwnCommand] = [TaskSearch("halted", None, PARKED_MAX)]
    # Those that are tried again are told of, wherever they are, as far as they are among the first.
    commands.append(TaskSearch(PENDING, None, QUEUED_MAX))
    commands += [TaskSearch(PENDING, name, QUEUED_MAX) for name in troubled[:TROUBLED_MAX]]
    parked, *queues = await port.ask(commands)
    _check(parked)
    return NowFacts(
        port.now_ms(),
        report,
        parked.tasks or (),
        list({task.id: task for reply in queues for task in reply.tasks or ()}.values()),
        brokers,
        throughput,
        is_whole=parked.cursor is None,
    )


async def read_call(port: Port, id_: str) -> CallFacts | None:
    """Read a call with what is below it; None if it does not exist.

    Raises
    ------
    AwayError, RefusedError
    """
    below = PromiseSearch(prefix=f"{id_}.", limit=GRAPH_MAX)
    first, *replies = await port.ask([PromiseGet(id_), below])
    if first.status == 404:
        return None
    record = _check(first).promise
    assert record is not None
    origin = origin_of(record)
    _check(replies[0])
    if origin != id_ and replies[0].cursor is None:
        replies += check(await port.ask([PromiseSearch(prefix=f"{origin}.", limit=GRAPH_MAX)]))
    found = [each for reply in replies for each in reply.promises or ()]
    is_whole = all(reply.cursor is None for reply in replies)
    own = [each for each in found if _belongs(each, origin)]
    # The store has ids in order, so that a page of those below a call is quick, however many there
    # are. A search of a graph finds those with ids of their own too, but has to sort it.
    is_large = not is_whole and len(own) == len(found)
    rest: list[OwnCommand] = []
    if not is_large:
        rest.append(PromiseSearch(origin=origin, limit=GRAPH_MAX))
    if not is_whole:
        prefix, graph = (f"{id_}.", None) if is_large else ("", origin)
        states = (PENDING, REJECTED)
        rest += [PromiseSearch(each, {}, prefix, graph, NOTABLE_MAX) for each in states]
    if not is_whole and not is_large:
        # The ids of other calls begin in the same way.
        rest.append(PromiseSearch(None, {TAG_SCOPE: DETACHED}, f"{id_}.", None, NOTABLE_MAX))
    more = check(await port.ask(rest))
    is_whole = is_whole and more[0].cursor is None
    records = {each.id: each for each in own}
    for reply in more:
        records |= {each.id: each for each in reply.promises or ()}
    records.setdefault(id_, record)
    return await with_tasks(port, id_, records, is_whole=is_whole)


def _belongs(record: PromiseRecord, origin: str) -> bool:
    """Return whether a promise whose id begins as that of a call is below it."""
    return origin_of(record) == origin or record.tags.get(TAG_SCOPE) == DETACHED


async def with_tasks(
    port: Port,
    id_: str,
    records: Mapping[str, PromiseRecord],
    *,
    is_whole: bool = True,
    shown: Sequence[str] | None = None,
) -> CallFacts:
    """Read the tasks of promises, and the groups; raises as `read_call`.

    Parameters
    ----------
    shown
        The promises whose tasks are read; None: those that a page of the call shows.
    """
    shown = _shown(records, id_) if shown is None else shown
    calls = [each for each in shown if TAG_TARGET in records[each].tags][:TASKS_MAX]
    replies = await port.ask([TaskGet(each) for each in calls])
    tasks = {reply.task.id: reply.task for reply in replies if reply.task is not None}
    logged = [task.id for task in tasks.values() if task.logged][:LOGS_MAX]
    logs = await port.ask([TaskAttempts(each) for each in logged])
    try:
        report = await port.groups()
    except RefusedError:
        report = None  # the call is shown without them
    return CallFacts(
        port.now_ms(),
        id_,
        records,
        tasks,
        progress_of_promises(records, replies),
        {each: log.attempts or [] for each, log in zip(logged, logs, strict=True)},
        report,
        is_whole,
    )


def _shown(records: Mapping[str, PromiseRecord], id_: str) -> list[str]:
    """Return the promises that a page may show one by one, and the first that are pending."""
    pending = [each.id for each in records.values() if not each.settled][:NOTABLE_MAX]
    root = build(records.values(), id_)
    if root is None or len(records) <= NOTABLE_MAX:
        return list(dict.fromkeys([id_, *pending, *records]))
    drawn = [line.item.id for line in lines(root)[:TASKS_MAX] if isinstance(line.item, Node)]
    return list(dict.fromkeys([id_, *pending, *drawn]))


class Waiting(NamedTuple):
    """Promises that somebody outside is to settle.

    Attributes
    ----------
    cursor
        Of the next page; None: this is the last one.
    """

    now_ms: int
    promises: Sequence[PromiseRecord]
    cursor: str | None


async def read_waiting(port: Port, cursor: str | None = None, limit: int = 100) -> Waiting:
    """Read a page of the promises that are to be settled from outside; raises as `read_call`."""
    search = PromiseSearch(PENDING, {TAG_EXTERNAL: TRUE}, limit=limit, cursor=cursor)
    (reply,) = await port.ask([search])
    _check(reply)
    return Waiting(port.now_ms(), reply.promises or (), reply.cursor)


class Below(NamedTuple):
    """Promises that are pending below a call, before it is canceled.

    Attributes
    ----------
    is_whole
        False if there is more.
    """

    promises: Sequence[PromiseRecord]
    is_whole: bool


async def read_below(port: Port, record: PromiseRecord) -> Below:
    """Read what a cancellation of a call would cancel; raises as `read_call`."""
    origin = origin_of(record)
    prefix = "" if origin == record.id else f"{record.id}."
    (reply,) = await port.ask([PromiseSearch(PENDING, {}, prefix, origin, GRAPH_MAX)])
    _check(reply)
    found = {each.id: each for each in reply.promises or ()}
    if not record.settled:
        found.setdefault(record.id, record)
    return Below(list(found.values()), reply.cursor is None)


def check(replies: Iterable[Reply]) -> list[Reply]:
    """Return replies, unless one is a refusal; raises `RefusedError`."""
    return list(map(_check, replies))


def _check(reply: Reply) -> Reply:
    if not reply.ok:
        raise RefusedError(reply)
    return reply
