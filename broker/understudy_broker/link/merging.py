"""Merges the answers of several brokers to one command into a single answer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec

from understudy_broker.link.session import Answer
from understudy_broker.protocol.messages import (
    AnyCommand,
    GroupInfo,
    GroupsGet,
    GroupsReport,
    NodeInfo,
    Refused,
    Response,
)
from understudy_store.calls import call_cursor, call_place, place_of
from understudy_store.commands import (
    STATS_FUNCTIONS_MAX,
    CallSearch,
    PromisePurge,
    PromiseSearch,
    Reply,
    ScheduleSearch,
    StatsGet,
    TaskSearch,
)
from understudy_store.records import StoreStats

#: the field of a reply that has the page, by the kind of search
_PAGES: Final[dict[type[Any], str]] = {
    PromiseSearch: "promises",
    TaskSearch: "tasks",
    ScheduleSearch: "schedules",
}
_id_of: Final = attrgetter("id")
_first: Final = itemgetter(0)


def merge(command: AnyCommand, answers: Sequence[Answer]) -> Answer:
    """Return the answer of all brokers together; the first refusal, if there is one.

    Parameters
    ----------
    command
        The command that all of them were asked, or had a part of.
    answers
        At least one, in any order.
    """
    replies: list[Reply] = []
    for answer in answers:
        if isinstance(answer, Refused) or not answer.reply.ok:
            return answer
        replies.append(answer.reply)
    if isinstance(command, GroupsGet):
        reports = [each.report for each in answers if isinstance(each, Response) and each.report]
        return Response(0, replies[0], merge_reports(reports))
    if isinstance(command, PromiseSearch | TaskSearch | ScheduleSearch):
        return Response(0, _merge_pages(_PAGES[type(command)], replies, command.limit))
    if isinstance(command, CallSearch):
        return Response(0, _merge_calls(command, replies))
    if isinstance(command, PromisePurge):
        return Response(0, _merge_purges(command, replies))
    if isinstance(command, StatsGet):
        found = [reply.stats for reply in replies if reply.stats is not None]
        return Response(0, Reply(200, stats=merge_stats(found)))
    promises = [record for reply in replies for record in reply.promises or ()]
    return Response(0, Reply(replies[0].status, promises=promises))


def _merge_pages(field: str, replies: Sequence[Reply], limit: int) -> Reply:
    """Merge pages that begin after the same id, so that nothing is skipped, and nothing twice.

    Beyond the end of a page its broker may have more, so nothing later is shown yet.
    """
    records = sorted((each for r in replies for each in getattr(r, field) or ()), key=_id_of)
    ends = [reply.cursor for reply in replies if reply.cursor is not None]
    cursor = min(ends, default=None)
    if cursor is not None:
        records = [each for each in records if each.id <= cursor]
    if len(records) > limit:
        records = records[:limit]
        cursor = records[-1].id
    reply = Reply(200, cursor=cursor)
    setattr(reply, field, records)
    return reply


def _merge_calls(search: CallSearch, replies: Sequence[Reply]) -> Reply:
    """Merge pages of calls as `_merge_pages` does those of ids; these go from new to old."""
    found = sorted(
        ((place_of(call, search), call) for reply in replies for call in reply.calls or ()),
        key=_first,
        reverse=True,
    )
    ends = [place for reply in replies if (place := call_place(reply.cursor or "")) is not None]
    end = max(ends, default=None)
    if end is not None:
        found = [each for each in found if each[0] >= end]
    if len(found) > search.limit:
        found = found[: search.limit]
        end = found[-1][0]
    counts: dict[str, int] | None = {} if search.counts else None
    if counts is not None:
        for reply in replies:
            for state, count in (reply.counts or {}).items():
                counts[state] = counts.get(state, 0) + count
    cursor = None if end is None else call_cursor(end)
    return Reply(200, calls=[call for _, call in found], cursor=cursor, counts=counts)


def _merge_purges(purge: PromisePurge, replies: Sequence[Reply]) -> Reply:
    """Merge what brokers have deleted; what a dry run finds beyond a page comes later."""
    found = sorted(
        (((each.settled_at, each.id), each) for reply in replies for each in reply.purged or ()),
        key=_first,
    )
    ends = [place for reply in replies if (place := call_place(reply.cursor or "")) is not None]
    end = min(ends, default=None)
    if end is not None and purge.dry_run:
        found = [each for each in found if each[0] <= end]
    cursor = None if end is None else call_cursor(end)
    return Reply(200, purged=[record for _, record in found], cursor=cursor)


def merge_stats(stats: Sequence[StoreStats]) -> StoreStats:
    """Return what several stores have together."""
    functions: Counter[tuple[str, str]] = Counter()
    for each in stats:
        for group, function, count in each.functions:
            functions[group, function] += count
    by_count = sorted(functions.items(), key=lambda each: (-each[1], each[0]))
    ends = [each.oldest_ended_at for each in stats if each.oldest_ended_at is not None]
    return StoreStats(
        promises=sum(each.promises for each in stats),
        pending=sum(each.pending for each in stats),
        tombstones=sum(each.tombstones for each in stats),
        attempts=sum(each.attempts for each in stats),
        oldest_ended_at=min(ends, default=None),
        functions=[(*key, count) for key, count in by_count[:STATS_FUNCTIONS_MAX]],
        file_bytes=_sum(each.file_bytes for each in stats),
        free_bytes=_sum(each.free_bytes for each in stats),
        log_bytes=_sum(each.log_bytes for each in stats),
        journal_bytes=_sum(each.journal_bytes for each in stats),
    )


def _sum(sizes: Iterable[int | None]) -> int | None:
    known = [each for each in sizes if each is not None]
    return sum(known) if known else None


def merge_reports(reports: Iterable[GroupsReport]) -> GroupsReport:
    """Return one report on the groups, from those of several brokers."""
    groups: dict[str, GroupInfo] = {}
    counters: dict[str, int] = {}
    limited: dict[str, tuple[str, str, int]] = {}
    for report in reports:
        for each in report.limited:
            if each[0] not in limited or each[2] < limited[each[0]][2]:
                limited[each[0]] = each
        for group in report.groups:
            other = groups.get(group.name)
            groups[group.name] = group if other is None else _merge_groups(other, group)
        for name, value in report.counters.items():
            counters[name] = counters.get(name, 0) + value
    return GroupsReport(
        tuple(groups[name] for name in sorted(groups)),
        counters,
        tuple(limited[name] for name in sorted(limited)),
    )


def _merge_groups(one: GroupInfo, other: GroupInfo) -> GroupInfo:
    nodes = {node.pid: node for node in one.nodes}
    for node in other.nodes:
        known = nodes.get(node.pid)
        nodes[node.pid] = node if known is None else _merge_nodes(known, node)
    unserved: dict[tuple[str, str | None], int] = {}
    for name, version, count in one.unserved + other.unserved:
        unserved[name, version] = unserved.get((name, version), 0) + count
    return GroupInfo(
        one.name,
        tuple(nodes.values()),
        one.queued + other.queued,
        max(one.waiting_ms, other.waiting_ms),
        tuple((name, version, count) for (name, version), count in unserved.items()),
        tuple({each.function: each for each in one.pauses + other.pauses}.values()),
    )


def _merge_nodes(one: NodeInfo, other: NodeInfo) -> NodeInfo:
    """Merge the views that two brokers have of one node; the one that heard it last knows best."""
    told = one if one.blocked or not other.blocked else other
    return msgspec.structs.replace(
        one,
        credit=one.credit + other.credit,
        held=one.held + other.held,
        silent_ms=min(one.silent_ms, other.silent_ms),
        blocked=told.blocked,
        blocked_ms=told.blocked_ms,
    )
