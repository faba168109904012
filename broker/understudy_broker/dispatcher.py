"""The dispatcher: nodes, groups, credit and queues; who gets which task next. Pure.

A group has one queue of tasks for whichever of its nodes has room (anycast), and one for each node
that tasks were addressed to alone (unicast). A node is handed at most what it has announced room
for (`credit`, a running total since its hello), in turn with the other nodes of its group that have
room. Whether a task goes to the node that it prefers, or to the one that holds it warm, is decided
when it is assigned: no task waits for a particular node while another has room, except unicast.

The queues hold ids, versions and times of what the store has as pending tasks: they grow with
pending work, as the store's live set does, and with nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

import msgspec

from understudy_store.addresses import parse_target


class ExecuteLike(Protocol):
    """What the machine owes for a pending task that is due (semantics: Messages owed)."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def warm(self) -> str | None: ...


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """Task (id, version) goes to node `pid`; `warm`: that node is the last that held it."""

    id: str
    version: int
    pid: str
    warm: bool


class GroupStatistics(msgspec.Struct, frozen=True):
    """`waiting_since`: when the oldest queued task was offered, epoch milliseconds."""

    name: str
    nodes: int
    queued: int
    waiting_since: int | None


class DispatcherStatistics(msgspec.Struct, frozen=True):
    nodes: int
    queued: int
    assigned: int
    groups: tuple[GroupStatistics, ...]


class _Node:
    __slots__ = ("pid", "group", "name", "total", "sent", "ready", "yields")

    def __init__(self, pid: str, group: str, name: str) -> None:
        self.pid = pid
        self.group = group
        self.name = name
        self.total = 0
        self.sent = 0
        #: stands in its group's round
        self.ready = False
        #: its last single credit went to unicast, the next goes to the group
        self.yields = False

    @property
    def available(self) -> int:
        return self.total - self.sent


class _Entry:
    __slots__ = ("id", "version", "warm", "prefers", "since", "queue", "alive")

    def __init__(self, task: ExecuteLike, prefers: str | None, since: int, queue: _Queue) -> None:
        self.id = task.id
        self.version = task.version
        self.warm = task.warm
        self.prefers = prefers
        self.since = since
        self.queue = queue
        self.alive = True


class _Queue:
    """Entries by priority, first in first out within one. Withdrawn ones are skipped later."""

    __slots__ = ("_lanes", "_top", "_dead", "count")

    def __init__(self) -> None:
        self._lanes: dict[int, deque[_Entry]] = {}
        self._top: int | None = None
        self._dead = 0
        self.count = 0

    def push(self, entry: _Entry, priority: int) -> None:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            if self._top is None or priority > self._top:
                self._top = priority
        lane.append(entry)
        self.count += 1

    def pop(self) -> _Entry | None:
        while self._top is not None:
            lane = self._lanes[self._top]
            while lane:
                entry = lane.popleft()
                if entry.alive:
                    entry.alive = False
                    self.count -= 1
                    return entry
                self._dead -= 1
            del self._lanes[self._top]
            self._top = max(self._lanes, default=None)
        return None

    def discard(self, entry: _Entry) -> None:
        entry.alive = False
        self.count -= 1
        self._dead += 1
        # Rebuilt at most once per as many withdrawals: constant cost each, memory stays bounded.
        if self._dead > 64 and self._dead > self.count:
            for priority, lane in list(self._lanes.items()):
                alive = deque(entry for entry in lane if entry.alive)
                if alive:
                    self._lanes[priority] = alive
                else:
                    del self._lanes[priority]
            self._top = max(self._lanes, default=None)
            self._dead = 0

    def waiting_since(self) -> int | None:
        """When the oldest was offered: each lane is in the order of arrival."""
        heads = (next((e.since for e in lane if e.alive), None) for lane in self._lanes.values())
        return min((since for since in heads if since is not None), default=None)


class _Group:
    __slots__ = ("name", "nodes", "queue", "round", "unicast")

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, _Node] = {}
        self.queue = _Queue()
        #: nodes with credit, the one to be served next at the left; others in it are skipped
        self.round: deque[_Node] = deque()
        self.unicast: dict[str, _Queue] = {}

    def queues(self) -> Iterator[_Queue]:
        yield self.queue
        yield from self.unicast.values()


class Dispatcher:
    """Assigns offered tasks to nodes that have credit. `now` is in epoch milliseconds."""

    def __init__(self, credit_max: int = 65_536) -> None:
        self._credit_max = credit_max
        self._groups: dict[str, _Group] = {}
        self._nodes: dict[str, _Node] = {}
        self._entries: dict[str, _Entry] = {}
        #: groups in which something may now be assigned; a dict for its order
        self._dirty: dict[str, None] = {}
        self._assigned = 0

    def join(self, pid: str, group: str, name: str, now: int) -> None:
        """A node said hello: its credit counts anew from here. Names are unique among nodes."""
        del now
        self.leave(pid)
        node = _Node(pid, group, name)
        self._nodes[pid] = node
        self._group(group).nodes[name] = node

    def leave(self, pid: str) -> None:
        """The node gets nothing more; what was addressed to it alone waits for its name."""
        node = self._nodes.pop(pid, None)
        if node is None:
            return
        node.total = node.sent
        group = self._groups[node.group]
        if group.nodes.get(node.name) is node:
            del group.nodes[node.name]
        if node.ready:
            group.round.remove(node)
        self._forget_if_idle(group)

    def credit(self, pid: str, total: int) -> None:
        """The node has had room for `total` tasks since its hello; an older total does nothing."""
        node = self._nodes.get(pid)
        if node is None:
            return
        total = min(total, node.sent + self._credit_max)
        if total > node.total:
            node.total = total
            self._has_room(node)

    def refund(self, pid: str) -> None:
        """What was assigned to this node last could not be acquired, and was not sent."""
        node = self._nodes.get(pid)
        if node is not None and node.sent:
            node.sent -= 1
            self._has_room(node)

    def available(self, pid: str) -> int:
        """Credit that is left to a node; 0 if there is no such node."""
        node = self._nodes.get(pid)
        return node.available if node else 0

    def offer(self, task: ExecuteLike, now: int) -> None:
        """Queue a task; offered again, it keeps its place and takes the newer version."""
        entry = self._entries.get(task.id)
        if entry is not None:
            if task.version > entry.version:
                entry.version = task.version
                entry.warm = task.warm
            return
        target = parse_target(task.target)
        group = self._group(target.group)
        queue = group.queue
        if target.cast == "uni" and target.node is not None:
            queue = group.unicast.get(target.node) or group.unicast.setdefault(
                target.node, _Queue()
            )
        entry = _Entry(task, target.node, now, queue)
        self._entries[task.id] = entry
        queue.push(entry, task.priority)
        if group.nodes:
            self._dirty[group.name] = None

    def withdraw(self, id: str) -> bool:
        """Forget a queued task, settled or halted meanwhile; True if it was queued."""
        entry = self._entries.pop(id, None)
        if entry is None:
            return False
        entry.queue.discard(entry)
        return True

    def assign(self, now: int) -> list[Assignment]:
        """Hand out all that can be. Constant work for each assignment, whatever waits."""
        del now
        made: list[Assignment] = []
        while self._dirty:
            group = self._groups.get(self._dirty.popitem()[0])
            if group is None:
                continue
            if group.unicast:
                self._assign_unicast(group, made, fair=True)
            self._assign_anycast(group, made)
            if group.unicast:
                self._assign_unicast(group, made, fair=False)
            self._forget_if_idle(group)
        self._assigned += len(made)
        return made

    def statistics(self) -> DispatcherStatistics:
        """How many wait where, and since when. Walks over the groups, not over the tasks."""
        groups = []
        for group in self._groups.values():
            queued = sum(queue.count for queue in group.queues())
            since = [queue.waiting_since() for queue in group.queues()]
            oldest = min((at for at in since if at is not None), default=None)
            groups.append(GroupStatistics(group.name, len(group.nodes), queued, oldest))
        return DispatcherStatistics(
            len(self._nodes), len(self._entries), self._assigned, tuple(groups)
        )

    # Inside ------------------------------------------------------------------------------------

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
        if not node.ready:
            node.ready = True
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
            node = self._favourite(group, entry) or first
            self._hand(entry, node, made)
            if node is first:
                group.round.rotate(-1)

    def _next_in_round(self, group: _Group) -> _Node | None:
        """The node whose turn it is; those that have used up their credit leave the round."""
        while group.round:
            node = group.round[0]
            if node.available > 0:
                return node
            node.ready = False
            group.round.popleft()
        return None

    def _favourite(self, group: _Group, entry: _Entry) -> _Node | None:
        """The node that holds the task warm, else the one that it prefers, if that has room."""
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
        """Serve those that have no other node to go to.

        While the group's own queue has work too, they get half of a node's room and, of a single
        credit, every second one: neither kind starves the other. What the group leaves is theirs.
        """
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
                self._hand(entry, node, made)
                room -= 1

    @staticmethod
    def _fair_share(node: _Node) -> int:
        if node.available != 1:
            return node.available // 2
        node.yields = not node.yields
        return 1 if node.yields else 0

    def _hand(self, entry: _Entry, node: _Node, made: list[Assignment]) -> None:
        del self._entries[entry.id]
        node.sent += 1
        made.append(Assignment(entry.id, entry.version, node.pid, entry.warm == node.pid))
