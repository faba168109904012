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

*Suspects.* A task whose holder has crashed `SUSPECT_CRASH_COUNT` times in a row is a suspect. A
node runs at most one suspect at a time. If it crashes again, the crash can be attributed to that
task, and not to another suspect that was beside it. Suspects wait in queues of their own and go
first. A node may take the next suspect when it no longer holds the last one, or after `SUSPECT_MS`,
so that no suspect starves.

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
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from understudy_broker.core.task_queue import Entry, ExecuteLike, Queue
from understudy_store.addresses import parse_target

#: Crash count from which a task is a suspect. With 1, one crash of a node with a thousand tasks
#: would make suspects of them all, and they would be run one at a time.
SUSPECT_CRASH_COUNT: Final = 2
#: how long a suspect keeps other suspects from its node at most, milliseconds
SUSPECT_MS: Final = 30_000


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """A task that goes to a node.

    Attributes
    ----------
    warm
        The node is the last that held the task, and may still have its activation in memory.
    """

    id: str
    version: int
    pid: str
    warm: bool


class GroupStatistics(msgspec.Struct, frozen=True):
    """Numbers of one group.

    Attributes
    ----------
    waiting_since
        When the oldest queued task was offered, epoch milliseconds; None: nothing is queued.
    """

    name: str
    nodes: int
    queued: int
    waiting_since: int | None


class DispatcherStatistics(msgspec.Struct, frozen=True):
    """Numbers of all groups."""

    nodes: int
    queued: int
    assigned: int
    groups: tuple[GroupStatistics, ...]


class _Node:
    """A node and its credit: `total` announced since its hello, `sent` of it used."""

    __slots__ = ("pid", "group", "name", "total", "sent", "in_round", "yields")

    def __init__(self, pid: str, group: str, name: str) -> None:
        self.pid = pid
        self.group = group
        self.name = name
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


class _Group:
    """A group's nodes and queues."""

    __slots__ = ("name", "nodes", "queue", "round", "suspects", "unicast")

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, _Node] = {}
        self.queue = Queue()
        #: Nodes with credit, the one to be served next at the left. Some may have lost their credit
        #: since; they are skipped.
        self.round: deque[_Node] = deque()
        self.unicast: dict[str, Queue] = {}
        #: queues of suspects by the only node that may have them; None: any node may
        self.suspects: dict[str | None, Queue] = {}

    def queues(self) -> Iterator[Queue]:
        """Yield all queues of the group."""
        yield self.queue
        yield from self.unicast.values()
        yield from self.suspects.values()


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

    def join(self, pid: str, group: str, name: str) -> None:
        """Add a node that said hello, without credit. Names are unique among nodes."""
        self.leave(pid)
        node = _Node(pid, group, name)
        self._nodes[pid] = node
        self._group(group).nodes[name] = node

    def leave(self, pid: str) -> None:
        """Remove a node; tasks that were addressed to it alone wait for a node of its name."""
        node = self._nodes.pop(pid, None)
        if node is None:
            return
        node.total = node.sent
        group = self._groups[node.group]
        if group.nodes.get(node.name) is node:
            del group.nodes[node.name]
        if node.in_round:
            group.round.remove(node)
        self._forget_if_idle(group)

    def credit(self, pid: str, total: int) -> None:
        """Set a node's running total of credit since its hello; an older total does nothing."""
        node = self._nodes.get(pid)
        if node is None:
            return
        total = min(total, node.sent + self._credit_max)
        if total > node.total:
            node.total = total
            self._has_room(node)

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
        queue = group.queue
        if task.crash_count >= SUSPECT_CRASH_COUNT:
            queue = group.suspects.get(only) or group.suspects.setdefault(only, Queue())
        elif only is not None:
            queue = group.unicast.get(only) or group.unicast.setdefault(only, Queue())
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
        return True

    def assign(self, now: int) -> list[Assignment]:
        """Assign every task that can be assigned."""
        made: list[Assignment] = []
        while self._dirty:
            group = self._groups.get(self._dirty.popitem()[0])
            if group is None:
                continue
            if group.suspects:
                self._assign_suspects(group, made, now)
            if group.unicast:
                self._assign_unicast(group, made, fair=True)
            self._assign_anycast(group, made)
            if group.unicast:
                self._assign_unicast(group, made, fair=False)
            self._forget_if_idle(group)
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

    def statistics(self) -> DispatcherStatistics:
        """Count the nodes and the queued tasks. Looks at each group, not at each task."""
        groups = []
        for group in self._groups.values():
            queued = sum(queue.count for queue in group.queues())
            since = [queue.waiting_since() for queue in group.queues()]
            oldest = min((at for at in since if at is not None), default=None)
            groups.append(GroupStatistics(group.name, len(group.nodes), queued, oldest))
        return DispatcherStatistics(
            len(self._nodes), len(self._entries), self._assigned, tuple(groups)
        )

    # Assigning ---------------------------------------------------------------------------------

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(name)
        return group

    def _forget_if_idle(self, group: _Group) -> None:
        if not group.nodes and not any(queue.count for queue in group.queues()):
            self._groups.pop(group.name, None)

    def _has_room(self, node: _Node) -> None:
        group = self._groups[node.group]
        if not node.in_round:
            node.in_round = True
            group.round.append(node)
        self._dirty[group.name] = None

    def _assign_anycast(self, group: _Group, made: list[Assignment]) -> None:
        queue = group.queue
        while queue.count:
            first = self._next_in_round(group)
            if first is None:
                return
            entry = queue.pop()
            if entry is None:
                return
            node = self._preferred_node(group, entry) or first
            self._assign_to(entry, node, made)
            if node is first:
                group.round.rotate(-1)

    def _assign_suspects(self, group: _Group, made: list[Assignment], now: int) -> None:
        """Assign a suspect to each node that has room and none; those for it alone go first."""
        for node in group.nodes.values():
            if node.available <= 0 or node.pid in self.suspects:
                continue
            for only in (node.name, None):
                queue = group.suspects.get(only)
                entry = None if queue is None else queue.pop()
                if entry is not None:
                    self.suspects[node.pid] = (entry.id, now)
                    self._assign_to(entry, node, made)
                    break
        group.suspects = {only: queue for only, queue in group.suspects.items() if queue.count}

    def _next_in_round(self, group: _Group) -> _Node | None:
        """Return the node whose turn it is; nodes without credit leave the round."""
        while group.round:
            node = group.round[0]
            if node.available > 0:
                return node
            node.in_round = False
            group.round.popleft()
        return None

    def _preferred_node(self, group: _Group, entry: Entry) -> _Node | None:
        """Return the node that has the task warm, else the preferred one, if it has room."""
        if entry.warm is not None:
            node = self._nodes.get(entry.warm)
            if node is not None and node.group == group.name and node.available > 0:
                return node
        if entry.prefers is not None:
            node = group.nodes.get(entry.prefers)
            if node is not None and node.available > 0:
                return node
        return None

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
                room = self._fair_share(node)
            while room > 0 and (entry := queue.pop()):
                self._assign_to(entry, node, made)
                room -= 1

    @staticmethod
    def _fair_share(node: _Node) -> int:
        """Return the part of a node's credit that unicast tasks get beside those of the group."""
        if node.available != 1:
            return node.available // 2
        node.yields = not node.yields
        return 1 if node.yields else 0

    def _assign_to(self, entry: Entry, node: _Node, made: list[Assignment]) -> None:
        del self._entries[entry.id]
        node.sent += 1
        made.append(Assignment(entry.id, entry.version, node.pid, entry.warm == node.pid))
