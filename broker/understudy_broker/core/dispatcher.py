"""The dispatcher: nodes, groups, credit and queues; who gets which task next. Pure.

A group has one queue of tasks for whichever of its nodes has room (anycast), and one for each node
that tasks were addressed to alone (unicast). A node is handed at most what it has announced room
for (`credit`, a running total since its hello), in turn with the other nodes of its group that have
room. Whether a task goes to the node that it prefers, or to the one that holds it warm, is decided
when it is assigned: no task waits for a particular node while another has room, except unicast.

A *suspect* is a task whose holder has vanished twice in a row. A node has at most one of them at a
time, so that the third death is the killer's own and not that of whoever sat beside it again. They
wait in queues of their own and go first; `review` gives a node's place to the next.

The queues hold ids, versions and times of what the store has as pending tasks: they grow with
pending work, as the store's live set does, and with nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from understudy_broker.core.task_queue import Entry, ExecuteLike, Queue
from understudy_store.addresses import parse_target

#: deaths from which a task is a suspect. Not one: then a node that crashes with a thousand tasks
#: would have them all done one by one
SUSPECT_DEATHS: Final = 2
#: how long a suspect keeps others from its node at most, milliseconds: so none of them starves
SUSPECT_MS: Final = 30_000


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


class _Group:
    __slots__ = ("name", "nodes", "queue", "round", "suspects", "unicast")

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, _Node] = {}
        self.queue = Queue()
        #: nodes with credit, the one to be served next at the left; others in it are skipped
        self.round: deque[_Node] = deque()
        self.unicast: dict[str, Queue] = {}
        #: of suspects, by the only node that may have them; None: any
        self.suspects: dict[str | None, Queue] = {}

    def queues(self) -> Iterator[Queue]:
        yield self.queue
        yield from self.unicast.values()
        yield from self.suspects.values()


class Dispatcher:
    """Assigns offered tasks to nodes that have credit. `now` is in epoch milliseconds."""

    def __init__(self, credit_max: int = 65_536) -> None:
        self._credit_max = credit_max
        self._groups: dict[str, _Group] = {}
        self._nodes: dict[str, _Node] = {}
        self._entries: dict[str, Entry] = {}
        #: groups in which something may now be assigned; a dict for its order
        self._dirty: dict[str, None] = {}
        self._assigned = 0
        #: node to the suspect that it has, and since when; to look at only
        self.suspects: dict[str, tuple[str, int]] = {}

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
        only = target.node if target.cast == "uni" else None
        queue = group.queue
        if task.crash_count >= SUSPECT_DEATHS:
            queue = group.suspects.get(only) or group.suspects.setdefault(only, Queue())
        elif only is not None:
            queue = group.unicast.get(only) or group.unicast.setdefault(only, Queue())
        entry = Entry(task, target.node, now, queue)
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
        """Hand out all that can be. Constant work for each assignment, whatever waits.

        But for suspects: then all nodes of their group are looked at.
        """
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

    def suspect(self, pid: str, id: str, now: int) -> None:
        """Node `pid` has this suspect, from before this dispatcher began."""
        self.suspects[pid] = (id, now)

    def review(self, has: Callable[[str, str], bool], now: int) -> None:
        """Let nodes take another suspect that no longer have theirs, or have had it for long.

        `has` says whether a node (its pid) still has that task (its id), and it is a suspect yet.
        """
        if not self.suspects:
            return
        for pid, (id_, since) in list(self.suspects.items()):
            if now - since < SUSPECT_MS and has(pid, id_):
                continue
            del self.suspects[pid]
            node = self._nodes.get(pid)
            if node is not None:
                self._dirty[node.group] = None

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

    def _assign_suspects(self, group: _Group, made: list[Assignment], now: int) -> None:
        """One for each node that has none and has room; those that only it may have go first."""
        for node in group.nodes.values():
            if node.available <= 0 or node.pid in self.suspects:
                continue
            for only in (node.name, None):
                queue = group.suspects.get(only)
                entry = None if queue is None else queue.pop()
                if entry is not None:
                    self.suspects[node.pid] = (entry.id, now)
                    self._hand(entry, node, made)
                    break
        group.suspects = {only: queue for only, queue in group.suspects.items() if queue.count}

    def _next_in_round(self, group: _Group) -> _Node | None:
        """The node whose turn it is; those that have used up their credit leave the round."""
        while group.round:
            node = group.round[0]
            if node.available > 0:
                return node
            node.ready = False
            group.round.popleft()
        return None

    def _favourite(self, group: _Group, entry: Entry) -> _Node | None:
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

    def _hand(self, entry: Entry, node: _Node, made: list[Assignment]) -> None:
        del self._entries[entry.id]
        node.sent += 1
        made.append(Assignment(entry.id, entry.version, node.pid, entry.warm == node.pid))
