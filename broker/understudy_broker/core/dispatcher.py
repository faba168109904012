"""The dispatcher: nodes, groups, credit and queues decide which node gets which task next. Pure.

Theory of operation
===================

A node announces *credit*: a running total of the tasks it has had room for since its hello. It is
handed at most that many. A total instead of a difference makes a repeated or late message harmless.

A group has one queue of tasks that any of its nodes may get (anycast), and one for each node that
tasks were addressed to alone (unicast). Within a queue, a higher priority goes first; among equals
the order is that of arrival.

*Anycast.* The nodes with credit stand in a ring, the *round*; each task goes to the node whose turn
it is. If the node that has the task warm has credit, it gets the task instead; else the node that
the address prefers, if that has credit. This is decided when a task is assigned, so no task waits
for a particular node while another one has room.

*Unicast.* While the group's own queue has tasks too, unicast tasks get half of a node's credit, and
of a single credit every second one, so that neither kind starves the other. What the group's queue
leaves over goes to unicast tasks.

*Functions.* A node announces the functions that it has, with their versions; one that announces
none is taken to have all. A task goes only to a node that has its function. Usually all nodes of a
group have the same ones, and the group's own queue holds all its tasks. While they differ (a deploy
is under way), tasks of a function that some nodes lack wait in a queue for that function, and get
their share of the nodes that have it as unicast tasks do. Tasks whose function no node has are kept
apart until one comes that has it. When the functions that all nodes have in common change, the
queued tasks are distributed anew, which costs a look at each of them. A task that is addressed to
one node alone goes to that node in any case, which parks it if it does not know the function.

*Suspects.* A task whose holder has crashed `SUSPECT_CRASH_COUNT` times in a row is a suspect. A
node runs at most one suspect at a time. If it crashes again, the crash can be attributed to that
task, and not to another suspect that was beside it. Suspects wait in queues of their own and go
first. A node may take the next suspect when it no longer holds the last one, or after `SUSPECT_MS`,
so that no suspect starves.

*Pauses.* Somebody may pause a group, or some of its functions. Then none of its tasks is assigned,
or none of those functions': they wait, also those that would be resumed. The tasks of a function
that is paused are kept apart, so that no queue has to be searched for others. A change of these
functions distributes the group's tasks anew.

`assign` does constant work for each assignment, however many tasks wait, because only groups in
which something may have become possible are looked at, and withdrawn tasks stay in their queue,
marked, until they are reached. Suspects are the exception: for them, all nodes of the group are
looked at. The queues hold ids, versions and times of pending tasks: they grow with pending work, as
the store's memory does, and with nothing else.

What is not perfect
===================

The warm node is chosen even if it has less credit left than others, so warm tasks may crowd on one
node. And with many groups, the order in which groups are served is the reverse of the order in
which they became ready; each is served completely before the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from understudy_broker.core.task_queue import Callee, Entry, ExecuteLike, Queue
from understudy_store.addresses import parse_target

#: Crash count from which a task is a suspect. With 1, one crash of a node with a thousand tasks
#: would make suspects of them all, and they would be run one at a time.
SUSPECT_CRASH_COUNT: Final = 2
#: how long a suspect keeps other suspects from its node at most, milliseconds
SUSPECT_MS: Final = 30_000

#: Time for which a task waits for a node with its function before somebody is told, milliseconds:
#: after a restart, nodes join one after the other.
UNSERVED_MS: Final = 2_000
#: in the place of a function's name, every task of a group is paused
ALL: Final = ""

#: The only node that may have a task (None: any node may), and whether the task is a suspect.
_Place: TypeAlias = tuple[str | None, bool]

#: unserved functions that the statistics of a group name
UNSERVED_SHOWN_MAX: Final = 100


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """A task that goes to a node.

    Attributes
    ----------
    warm
        The node is the last that held the task, and may still have its activation in memory.
    since, priority
        When the task was queued, epoch milliseconds, and with which priority.
    """

    id: str
    version: int
    pid: str
    warm: bool
    since: int
    priority: int


class GroupStatistics(msgspec.Struct, frozen=True):
    """Numbers of one group.

    Attributes
    ----------
    waiting_since
        When the oldest queued task was offered, epoch milliseconds; None: nothing is queued.
    unserved
        Functions that no node of the group has, with the number of tasks that wait for one that
        has; at most `UNSERVED_SHOWN_MAX` of them.
    """

    name: str
    nodes: int
    queued: int
    waiting_since: int | None
    unserved: tuple[tuple[Callee, int], ...] = ()


class DispatcherStatistics(msgspec.Struct, frozen=True):
    """Numbers of all groups."""

    nodes: int
    queued: int
    assigned: int
    groups: tuple[GroupStatistics, ...]


class _Node:
    """A node and its credit: `total` announced since its hello, `sent` of it used."""

    __slots__ = ("pid", "group", "name", "functions", "total", "sent", "in_round", "yields")

    def __init__(
        self, pid: str, group: str, name: str, functions: frozenset[Callee] | None
    ) -> None:
        self.pid = pid
        self.group = group
        self.name = name
        #: the functions that it has; None: all
        self.functions = functions
        self.total = 0
        self.sent = 0
        #: The node stands in its group's round.
        self.in_round = False
        #: Its last single credit went to a unicast task, so the next one goes to the group's queue.
        self.yields = False

    @property
    def available(self) -> int:
        """Unused credit."""
        return self.total - self.sent

    def fair_share(self) -> int:
        """Return the part of the credit for tasks beside those of the group's own queue."""
        if self.available != 1:
            return self.available // 2
        self.yields = not self.yields
        return 1 if self.yields else 0

    def has(self, callee: Callee | None) -> bool:
        """Return whether it has a function."""
        return callee is None or self.functions is None or callee in self.functions


class _Group:
    """A group's nodes and queues."""

    __slots__ = (
        "common", "held", "is_paused", "name", "nodes", "paused", "queue", "round", "special",
        "suspects", "told", "unicast", "unserved",
    )  # fmt: skip

    def __init__(self, name: str, paused: frozenset[str]) -> None:
        self.name = name
        #: All of the group is paused.
        self.is_paused = ALL in paused
        #: its functions that are paused
        self.paused = paused - {ALL}
        #: the queues of these, by where their tasks belong: see `_Place`
        self.held: dict[tuple[str, _Place], Queue] = {}
        self.nodes: dict[str, _Node] = {}
        #: functions that all nodes have; None: all functions
        self.common: frozenset[Callee] | None = None
        self.queue = Queue()
        #: queues of functions that only some nodes have, and of those that none has
        self.special: dict[Callee, Queue] = {}
        self.unserved: dict[Callee, Queue] = {}
        #: unserved functions that somebody was told of
        self.told: set[Callee] = set()
        #: Nodes with credit, the one to be served next at the left. Some may have lost their credit
        #: since; they are skipped.
        self.round: deque[_Node] = deque()
        self.unicast: dict[str, Queue] = {}
        #: Queues of suspects by the only node that may have them (None: any node may), and, if any
        #: node may, by their function.
        self.suspects: dict[tuple[str | None, Callee | None], Queue] = {}

    def queues(self) -> Iterator[Queue]:
        """Yield all queues of the group."""
        yield self.queue
        yield from self.special.values()
        yield from self.unserved.values()
        yield from self.unicast.values()
        yield from self.suspects.values()
        yield from self.held.values()

    @property
    def is_idle(self) -> bool:
        """True if it has no node and no task."""
        return not self.nodes and not any(queue.count for queue in self.queues())

    def place(self, callee: Callee | None, place: _Place) -> Queue:
        """Return the queue for a task."""
        only, is_suspect = place
        if self.paused and callee is not None and callee[0] in self.paused:
            key = callee[0], place
            return self.held.get(key) or self.held.setdefault(key, Queue())
        if is_suspect:
            of = only, None if only is not None else callee
            return self.suspects.get(of) or self.suspects.setdefault(of, Queue())
        if only is not None:
            return self.unicast.get(only) or self.unicast.setdefault(only, Queue())
        return self.queue if self.common is None else self.queue_of(callee)

    def pause(self, names: frozenset[str]) -> None:
        """Pause just these functions, and the whole group if `ALL` is among them."""
        self.is_paused = ALL in names
        names -= {ALL}
        if names == self.paused:
            return
        self.paused = names
        anyone: _Place = (None, False)
        moved = [(each, anyone) for each in self.queue.take_all()]
        for queues in (self.special, self.unserved):
            for queue in queues.values():
                moved += [(each, anyone) for each in queue.take_all()]
            queues.clear()
        for only, queue in self.unicast.items():
            moved += [(each, (only, False)) for each in queue.take_all()]
        for (alone, _), queue in self.suspects.items():
            moved += [(each, (alone, True)) for each in queue.take_all()]
        for (_, place), queue in self.held.items():
            moved += [(each, place) for each in queue.take_all()]
        for kind in (self.unicast, self.suspects, self.held):
            kind.clear()
        for (priority, entry), place in sorted(moved, key=lambda each: _since(each[0])):
            entry.queue = self.place(entry.callee, place)
            entry.queue.push(entry, priority)
        self.told &= self.unserved.keys()

    def next_in_round(self) -> _Node | None:
        """Return the node whose turn it is; nodes without credit leave the round."""
        while self.round:
            node = self.round[0]
            if node.available > 0:
                return node
            node.in_round = False
            self.round.popleft()
        return None

    def queue_of(self, callee: Callee | None) -> Queue:
        """Return the queue for anycast tasks of a function."""
        common = self.common
        if common is None or callee is None or callee in common:
            return self.queue
        queue = self.special.get(callee) or self.unserved.get(callee)
        if queue is None:
            is_served = any(node.has(callee) for node in self.nodes.values())
            queue = (self.special if is_served else self.unserved)[callee] = Queue()
        return queue

    def shared(self, functions: frozenset[Callee] | None) -> frozenset[Callee] | None:
        """Return the same set as one of the nodes has, so that equal sets are one object."""
        equal = (each.functions for each in self.nodes.values() if each.functions == functions)
        return next(equal, functions)

    def forget(self, callee: Callee, queue: Queue) -> None:
        """Forget the queue of a function that no node has, if it is one."""
        if self.unserved.get(callee) is queue:
            del self.unserved[callee]
            self.told.discard(callee)

    def take_unserved(self, now: int, found: list[tuple[str, Callee, int]]) -> int | None:
        """Add to `found` what somebody is to be told of; return when to look again, None: never."""
        due_at: int | None = None
        for callee, queue in self.unserved.items():
            since = queue.waiting_since()
            if since is None or callee in self.told:
                continue
            if since + UNSERVED_MS <= now:
                self.told.add(callee)
                found.append((self.name, callee, queue.count))
            elif due_at is None or since + UNSERVED_MS < due_at:
                due_at = since + UNSERVED_MS
        return due_at

    def distribute(self) -> None:
        """Put the anycast tasks into their queues anew, because the nodes' functions changed.

        A group that has no node waits for the next one as it is.
        """
        if not self.nodes:
            return
        sets = {id(node.functions): node.functions for node in self.nodes.values()}
        known = [each for each in sets.values() if each is not None]
        common = frozenset.intersection(*known) if known else None
        if common == self.common and not self.special and not self.unserved:
            return
        self.common = common
        moved = self.queue.take_all()
        for queue in (*self.special.values(), *self.unserved.values()):
            moved += queue.take_all()
        self.special, self.unserved = {}, {}
        # The sort is stable, so tasks of the same millisecond keep the order of their queue.
        for priority, entry in sorted(moved, key=_since):
            entry.queue = self.queue_of(entry.callee)
            entry.queue.push(entry, priority)
        self.told &= self.unserved.keys()


def _preferred_node(nodes: Mapping[str, _Node], group: _Group, entry: Entry) -> _Node | None:
    """Return the node that has the task warm, else the preferred one, if it has room."""
    if entry.warm is not None:
        node = nodes.get(entry.warm)
        if node is not None and node.group == group.name and _can_take(node, entry):
            return node
    if entry.prefers is not None:
        node = group.nodes.get(entry.prefers)
        if node is not None and _can_take(node, entry):
            return node
    return None


def _can_take(node: _Node, entry: Entry) -> bool:
    return node.available > 0 and node.has(entry.callee)


def _since(queued: tuple[int, Entry]) -> int:
    return queued[1].since


class Dispatcher:
    """Assigns offered tasks to nodes that have credit. `now` is in epoch milliseconds.

    Parameters
    ----------
    credit_max
        Unused credit that a node may have.

    Attributes
    ----------
    suspects
        The suspect of each node that has one, by pid, and since when; to be read only.
    unserved_due_at
        When `take_unserved` may have something to tell; None: no task waits for a node that has its
        function.
    """

    def __init__(self, credit_max: int = 65_536) -> None:
        self._credit_max = credit_max
        self._groups: dict[str, _Group] = {}
        self._nodes: dict[str, _Node] = {}
        self._entries: dict[str, Entry] = {}
        #: Groups in which something may now be assigned; a dict, because it keeps their order.
        self._dirty: dict[str, None] = {}
        self._assigned = 0
        self.suspects: dict[str, tuple[str, int]] = {}
        #: the announced credit of nodes that get nothing for now, by pid
        self._paused: dict[str, int] = {}
        #: paused functions by group, see `set_paused`
        self._pauses: dict[str, frozenset[str]] = {}
        self.unserved_due_at: int | None = None

    def join(
        self, pid: str, group: str, name: str, functions: frozenset[Callee] | None = None
    ) -> None:
        """Add a node that said hello, without credit. Names are unique among nodes.

        Parameters
        ----------
        functions
            The functions that it has, each with every version of its own and with None; None: all.
        """
        self.leave(pid)
        known = self._groups.get(group)
        if known is not None and name in known.nodes:
            self.leave(known.nodes[name].pid)  # a member of that name
        joined = self._group(group)
        node = _Node(pid, group, name, joined.shared(functions))
        self._nodes[pid] = node
        joined.nodes[name] = node
        self._distribute(joined)

    def add_functions(self, pid: str, functions: frozenset[Callee]) -> None:
        """Note that a node has more functions than it announced before."""
        node = self._nodes.get(pid)
        if node is not None and node.functions is not None:
            group = self._groups[node.group]
            node.functions = group.shared(node.functions | functions)
            self._distribute(group)

    def leave(self, pid: str) -> None:
        """Remove a node; tasks that were addressed to it alone wait for a node of its name."""
        node = self._nodes.pop(pid, None)
        self._paused.pop(pid, None)
        if node is None:
            return
        node.total = node.sent
        group = self._groups[node.group]
        if group.nodes.get(node.name) is node:
            del group.nodes[node.name]
        if node.in_round:
            group.round.remove(node)
        self._distribute(group)
        if group.is_idle:
            del self._groups[group.name]

    def credit(self, pid: str, total: int) -> None:
        """Set a node's running total of credit since its hello; an older total does nothing."""
        node = self._nodes.get(pid)
        if node is None:
            return
        total = min(total, node.sent + self._credit_max)
        if total > node.total:
            node.total = total
            self._has_room(node)

    def pause(self, pid: str) -> None:
        """Give a node no more tasks until `resume`, or until it announces credit itself."""
        node = self._nodes.get(pid)
        if node is not None:
            self._paused[pid] = node.total
            node.total = node.sent

    def resume(self, pid: str) -> None:
        """Let a paused node have tasks again, as far as its credit goes."""
        total = self._paused.pop(pid, None)
        if total is not None:
            self.credit(pid, total)

    def refund(self, pid: str) -> None:
        """Give a node its credit back for an assignment that could not be acquired."""
        node = self._nodes.get(pid)
        if node is not None and node.sent:
            node.sent -= 1
            self._has_room(node)

    def available(self, pid: str) -> int:
        """Return the unused credit of a node; 0 if there is no such node."""
        node = self._nodes.get(pid)
        return node.available if node else 0

    def offer(self, task: ExecuteLike, now: int) -> None:
        """Queue a task; if it is queued already, it keeps its place and takes the newer version."""
        entry = self._entries.get(task.id)
        if entry is not None:
            if task.version > entry.version:
                entry.version = task.version
                entry.warm = task.warm
            return
        target = parse_target(task.target)
        group = self._group(target.group)
        only = target.node if target.cast == "uni" else None
        queue = group.place(task.callee, (only, task.crash_count >= SUSPECT_CRASH_COUNT))
        if self.unserved_due_at is None and group.unserved:
            self.unserved_due_at = now + UNSERVED_MS
        entry = Entry(task, target.node, now, queue)
        self._entries[task.id] = entry
        queue.push(entry, task.priority)
        if group.nodes:
            self._dirty[group.name] = None

    def withdraw(self, id: str) -> bool:
        """Forget a task that was settled or halted meanwhile; return whether it was queued."""
        entry = self._entries.pop(id, None)
        if entry is None:
            return False
        entry.queue.discard(entry)
        if not entry.queue.count and entry.callee is not None:
            for group in self._groups.values():
                group.forget(entry.callee, entry.queue)
        return True

    def set_paused(self, group: str, functions: frozenset[str]) -> None:
        """Assign no tasks of these functions of a group, but again those of all others.

        Parameters
        ----------
        functions
            Their names; `ALL` stands for every task of the group.
        """
        if functions:
            self._pauses[group] = functions
        else:
            self._pauses.pop(group, None)
        known = self._groups.get(group)
        if known is not None:
            known.pause(functions)
            self._dirty[group] = None
            if known.unserved:
                self.unserved_due_at = 0

    def assign(self, now: int) -> list[Assignment]:
        """Assign every task that can be assigned."""
        made: list[Assignment] = []
        while self._dirty:
            group = self._groups.get(self._dirty.popitem()[0])
            if group is None or group.is_paused:
                continue
            if group.suspects:
                self._assign_suspects(group, made, now)
            if group.special:
                self._assign_special(group, made, fair=True)
            if group.unicast:
                self._assign_unicast(group, made, fair=True)
            self._assign_anycast(group, made)
            if group.special:
                self._assign_special(group, made, fair=False)
            if group.unicast:
                self._assign_unicast(group, made, fair=False)
            if group.is_idle:
                del self._groups[group.name]
        self._assigned += len(made)
        return made

    def add_suspect(self, pid: str, id: str, now: int) -> None:
        """Note that a node has had a suspect since before this dispatcher was made."""
        self.suspects[pid] = (id, now)

    def release_suspects(self, holds_suspect: Callable[[str, str], bool], now: int) -> None:
        """Let a node take another suspect if it no longer has its last one, or has had it for long.

        Parameters
        ----------
        holds_suspect
            Returns whether the node with this pid still holds the task with this id, and the task
            is still a suspect.
        """
        for pid, (id_, since) in list(self.suspects.items()):
            if now - since < SUSPECT_MS and holds_suspect(pid, id_):
                continue
            del self.suspects[pid]
            node = self._nodes.get(pid)
            if node is not None:
                self._dirty[node.group] = None

    def take_unserved(self, now: int) -> list[tuple[str, Callee, int]]:
        """Return group, function and number of tasks that wait because no node has the function.

        Each function is returned once, when the first task has waited for `UNSERVED_MS`.
        """
        found: list[tuple[str, Callee, int]] = []
        due_at = [group.take_unserved(now, found) for group in self._groups.values()]
        self.unserved_due_at = min((at for at in due_at if at is not None), default=None)
        return found

    def statistics(self) -> DispatcherStatistics:
        """Count the nodes and the queued tasks. Looks at each group, not at each task."""
        groups = []
        for group in self._groups.values():
            queued = sum(queue.count for queue in group.queues())
            since = [queue.waiting_since() for queue in group.queues()]
            oldest = min((at for at in since if at is not None), default=None)
            waiting = [(callee, queue.count) for callee, queue in group.unserved.items()]
            shown = tuple(waiting[:UNSERVED_SHOWN_MAX])
            groups.append(GroupStatistics(group.name, len(group.nodes), queued, oldest, shown))
        return DispatcherStatistics(
            len(self._nodes), len(self._entries), self._assigned, tuple(groups)
        )

    # Assigning ---------------------------------------------------------------------------------

    def _distribute(self, group: _Group) -> None:
        group.distribute()
        self._dirty[group.name] = None
        if group.unserved:
            self.unserved_due_at = 0

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(name, self._pauses.get(name, frozenset()))
        return group

    def _has_room(self, node: _Node) -> None:
        group = self._groups[node.group]
        if not node.in_round:
            node.in_round = True
            group.round.append(node)
        self._dirty[group.name] = None

    def _assign_anycast(self, group: _Group, made: list[Assignment]) -> None:
        queue = group.queue
        while queue.count:
            first = group.next_in_round()
            if first is None:
                return
            entry = queue.pop()
            if entry is None:
                return
            node = _preferred_node(self._nodes, group, entry) or first
            self._assign_to(entry, node, made)
            if node is first:
                group.round.rotate(-1)

    def _assign_suspects(self, group: _Group, made: list[Assignment], now: int) -> None:
        """Assign a suspect to each node that has room and none; those for it alone go first."""
        for node in group.nodes.values():
            if node.available <= 0 or node.pid in self.suspects:
                continue
            alone = group.suspects.get((node.name, None))
            others = [
                queue
                for (only, callee), queue in group.suspects.items()
                if only is None and node.has(callee)
            ]
            for queue in others if alone is None else (alone, *others):
                entry = queue.pop()
                if entry is not None:
                    self.suspects[node.pid] = (entry.id, now)
                    self._assign_to(entry, node, made)
                    break
        group.suspects = {key: queue for key, queue in group.suspects.items() if queue.count}

    def _assign_special(self, group: _Group, made: list[Assignment], *, fair: bool) -> None:
        """Assign tasks of functions that only some nodes have: a fair share, or what is left."""
        for callee, queue in list(group.special.items()):
            del group.special[callee]
            if not queue.count:
                continue
            # The function goes last the next time, so that none of several starves.
            group.special[callee] = queue
            room: deque[tuple[_Node, int]] = deque()
            for node in group.nodes.values():
                if node.available > 0 and node.has(callee):
                    is_shared = fair and group.queue.count
                    room.append((node, node.fair_share() if is_shared else node.available))
            while room and queue.count:
                node, left = room.popleft()
                if left > 0 and (entry := queue.pop()) is not None:
                    preferred = _preferred_node(self._nodes, group, entry)
                    self._assign_to(entry, preferred or node, made)
                    room.append((node, min(left - 1, node.available)))

    def _assign_unicast(self, group: _Group, made: list[Assignment], *, fair: bool) -> None:
        """Assign unicast tasks: their fair share of the credit, or all that is left over."""
        for name, queue in list(group.unicast.items()):
            node = group.nodes.get(name)
            if not queue.count:
                del group.unicast[name]
                continue
            if node is None:
                continue
            room = node.available
            if fair and group.queue.count:
                room = node.fair_share()
            while room > 0 and (entry := queue.pop()):
                self._assign_to(entry, node, made)
                room -= 1

    def _assign_to(self, entry: Entry, node: _Node, made: list[Assignment]) -> None:
        del self._entries[entry.id]
        node.sent += 1
        is_warm = entry.warm == node.pid
        made.append(
            Assignment(entry.id, entry.version, node.pid, is_warm, entry.since, entry.priority)
        )
