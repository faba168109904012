"""Selection of the targets of an action, as conversations. Pure.

What is chosen is read to the end before anything is done, so calls that are made meanwhile are not
chased, and the times of a search mean one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from understudy.repairs.conversation import Conversation, accepted
from understudy.repairs.plan import Action, Plan, Target, cause_matches
from understudy.views.calls import call_reason, call_status
from understudy_broker.protocol.messages import AnyCommand
from understudy_store.addresses import group_of
from understudy_store.commands import CallSearch, PromiseGet, PromiseSearch, Reply, TaskSearch
from understudy_store.records import (
    HEADER_FUNCTION,
    PENDING,
    PROMISE_WORDS,
    TAG_EXTERNAL,
    TAG_TARGET,
    TASK_WORDS,
    TRUE,
    PromiseRecord,
    TaskRecord,
    is_timer,
    origin_of,
)

#: Targets of one plan. They are kept in memory, and a person waits.
TARGETS_MAX: Final = 100_000
#: records of one page
_PAGE: Final = 1000
#: promises that are read at once, each of which may have a large value
READ_MAX: Final = 64
#: the states of the tasks that an action finds below calls, or in a group
_STATES: Final[Mapping[Action, tuple[str, ...]]] = {
    "continue": ("halted",),
    "retry": (PENDING,),
    "halt": (PENDING, "acquired", "suspended"),
}


class Causes(NamedTuple):
    """Conditions on the cause of a task: a text in it, and the class of the exception."""

    text: str | None = None
    error: str | None = None

    def match(self, cause: str | None) -> bool:
        """Return whether a cause meets both."""
        return cause_matches(cause, self.text, self.error)


ANY: Final = Causes()


def select_calls(action: Action, search: CallSearch, causes: Causes = ANY) -> Conversation[Plan]:
    """Choose calls that begin a call graph; to retry and continue, the tasks of their graphs.

    Parameters
    ----------
    search
        The conditions, with the states that `states_for` gives.
    causes
        Conditions on the tasks, for any action but ``restart``.
    """
    calls: dict[str, Target] = {}

    def take(page: Reply) -> bool:
        for call in page.calls or ():
            if action in ("retry", "continue", "restart") or causes.match(call.cause):
                reason = call_reason(call)
                target = Target(call.id, call.group, call.function, call_status(call), reason)
                calls.setdefault(call.id, target)
        return len(calls) < TARGETS_MAX

    is_whole = yield from _read(lambda at: replace(search, limit=_PAGE, cursor=at), take)
    if action not in ("retry", "continue"):
        return Plan(action, tuple(calls.values()), is_whole=is_whole)
    return (yield from _below(action, calls.keys(), causes, is_whole=is_whole))


def select_ids(action: Action, ids: Sequence[str], causes: Causes = ANY) -> Conversation[Plan]:
    """Choose calls by their ids; to retry and continue, the tasks of their graphs.

    Raises
    ------
    CommandError
        With status 404 if one of them does not exist; nothing is done to the others then.
    """
    ids = tuple(dict.fromkeys(ids))
    records = yield from _promises(ids)
    if action in ("retry", "continue"):
        return (yield from _below(action, ids, causes))
    return Plan(action, tuple(map(_promise_target, records)))


def select_tasks(
    action: Action,
    *,
    group: str | None = None,
    prefix: str = "",
    causes: Causes = ANY,
    states: Sequence[str] = (),
) -> Conversation[Plan]:
    """Choose tasks of any calls, of a group or of all.

    Parameters
    ----------
    prefix
        The beginning of their ids.
    states
        The store's names; none: all that suit the action.
    """
    tasks, is_whole = yield from _tasks(action, group, causes, states)
    targets = (_task_target(each) for each in tasks if each.id.startswith(prefix))
    return Plan(action, tuple(targets), is_whole=is_whole)


def select_promises(
    *, prefix: str = "", tags: Mapping[str, str] | None = None, origin: str | None = None
) -> Conversation[Plan]:
    """Choose pending promises that wait for somebody outside, and no calls, to be resolved."""
    found: dict[str, Target] = {}

    def take(page: Reply) -> bool:
        for record in page.promises or ():
            of_people = record.tags.get(TAG_EXTERNAL) == TRUE and TAG_TARGET not in record.tags
            if of_people and not is_timer(record) and not record.settled:
                found.setdefault(record.id, _promise_target(record))
        return len(found) < TARGETS_MAX

    is_whole = yield from _read(
        lambda at: PromiseSearch(PENDING, dict(tags or {}), prefix, origin, _PAGE, at), take
    )
    return Plan("resolve", tuple(found.values()), "promise", is_whole)


def _below(
    action: Action, roots: Collection[str], causes: Causes, *, is_whole: bool = True
) -> Conversation[Plan]:
    """Choose the tasks of call graphs, their roots too, that are parked, or tried again.

    All such tasks are looked at, not all of the graphs: they are fewer, as a rule.
    """
    tasks, all_read = yield from _tasks(action, None, causes) if roots else _nothing()
    wanted = frozenset(roots)
    found: list[Target] = []
    for start in range(0, len(tasks), READ_MAX):
        some = tasks[start : start + READ_MAX]
        answers = yield [PromiseGet(each.id) for each in some]
        for task, answer in zip(some, answers, strict=True):
            # One that is not there any more needs nothing.
            record = answer.promise if isinstance(answer, Reply) else None
            if record is not None and not wanted.isdisjoint((task.id, origin_of(record))):
                found.append(_task_target(task, record))
    return Plan(action, tuple(found), is_whole=is_whole and all_read)


def _nothing() -> Conversation[tuple[list[TaskRecord], bool]]:
    yield from ()
    return [], True


def _tasks(
    action: Action, group: str | None, causes: Causes, states: Sequence[str] = ()
) -> Conversation[tuple[list[TaskRecord], bool]]:
    """Read the tasks that an action suits, and whether these are all."""
    found: dict[str, TaskRecord] = {}

    def take(page: Reply) -> bool:
        for task in page.tasks or ():
            if causes.match(task.cause) and (action != "retry" or task.failures):
                found.setdefault(task.id, task)
        return len(found) < TARGETS_MAX

    for state in states or _STATES[action]:
        is_whole = yield from _read(_task_pages(state, group), take)
        if not is_whole:
            return list(found.values()), False
    return list(found.values()), True


def _task_pages(state: str, group: str | None) -> Callable[[str | None], AnyCommand]:
    return lambda cursor: TaskSearch(state, group, _PAGE, cursor)


def _read(
    search: Callable[[str | None], AnyCommand], take: Callable[[Reply], bool]
) -> Conversation[bool]:
    """Read page after page, until `take` wants no more; return whether all was read."""
    cursor: str | None = None
    while True:
        [answer] = yield [search(cursor)]
        page = accepted(answer)
        wants_more, cursor = take(page), page.cursor
        if cursor is None or not wants_more:
            return cursor is None


def _promises(ids: Sequence[str]) -> Conversation[list[PromiseRecord]]:
    found: list[PromiseRecord] = []
    for start in range(0, len(ids), READ_MAX):
        answers = yield [PromiseGet(each) for each in ids[start : start + READ_MAX]]
        found += [record for each in answers if (record := accepted(each).promise)]
    return found


def _promise_target(record: PromiseRecord) -> Target:
    address = record.tags.get(TAG_TARGET)
    return Target(
        record.id,
        "" if address is None else group_of(address),
        record.param.headers.get(HEADER_FUNCTION, ""),
        PROMISE_WORDS[record.state],
    )


def _task_target(task: TaskRecord, record: PromiseRecord | None = None) -> Target:
    function = "" if record is None else record.param.headers.get(HEADER_FUNCTION, "")
    return Target(task.id, group_of(task.target), function, TASK_WORDS[task.state], task.cause)
