"""The properties of the semantics, checked after every transition for the objects it touched.

`tests.unit.store.machine.properties` states them for whole states; this module states them for
single objects, so that the cost of a check depends on the transition and not on the size of the
state. The whole state is still checked after each restart and at the end. `Watched` is the machine
with these checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from tests.simulation.observations import Memory, Seen, Violation, as_stored, hold, look
from tests.unit.store.machine import edges
from tests.unit.store.machine.properties import check_state
from tests.unit.store.machine.properties_of_schedules import check_schedules
from understudy_store.addresses import canonical, slot_of_address
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseRegisterListener,
    PromiseSettle,
    Reply,
    StoreCommand,
    TaskFence,
    TaskFulfill,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.machine import Assigned, Execute, Machine, MachineConfig
from understudy_store.machine.batches import touched
from understudy_store.machine.live import Promise
from understudy_store.machine.packed import all_promises
from understudy_store.machine.state import children_of
from understudy_store.records import (
    CANCELED,
    EMPTY,
    LOCAL,
    PENDING,
    RESOLVED,
    TAG_SCOPE,
    TAG_TARGET,
    TIMEDOUT,
    PromiseRecord,
    Row,
    ScheduleRecord,
    is_external,
    is_timer,
)
from understudy_store.slots import slot_of


class _Touched(dict[str, Promise]):
    """The machine's dirty set, which also remembers the entries added since the last check."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[str, None] = {}

    def __setitem__(self, key: str, value: Promise) -> None:
        dict.__setitem__(self, key, value)
        self.ids[key] = None


class Watched(Machine):
    """The real machine, which checks the properties after each transition.

    Parameters
    ----------
    history
        Returns all that is stored of the slots of this machine.
    """

    def __init__(
        self, config: MachineConfig, memory: Memory, history: Callable[[], Mapping[str, Row]]
    ) -> None:
        super().__init__(config)
        self._memory = memory
        self._history = history
        self._touched = _Touched()
        self.state.dirty = self._touched
        #: The promises whose callbacks contain an awaiter, by awaiter.
        self._waits: dict[str, set[str]] = {}
        self._schedules: dict[str, ScheduleRecord] = {}

    def restore(self, snapshot: Snapshot, now: int, ahead: int = 0) -> None:
        super().restore(snapshot, now, ahead)
        memory = self._memory
        memory.handed = {}
        memory.seen = {}
        self._begin(self._history())

    def admitted(self, rows: Mapping[str, Row], *, is_fenced: bool) -> None:
        """Note what is stored of slots that have come.

        Parameters
        ----------
        is_fenced
            Others have them by now, so that what was read need not fit together.
        """
        self._begin(rows, is_fenced=is_fenced)

    def _begin(self, rows: Mapping[str, Row], *, is_fenced: bool = False) -> None:
        if not is_fenced:
            self.check_all()
        self._touched.ids = {}
        self._schedules = dict(self.state.schedules)
        seen = self._memory.seen
        for key, row in rows.items():
            seen[key] = as_stored(row)
        for promise in all_promises(self.state):
            key = promise.record.id
            if key in rows:
                now_seen = seen[key] = look(promise)
                for awaiter in now_seen.callbacks:
                    self._waits.setdefault(awaiter, set()).add(key)

    def expel(self, slots: Collection[int]) -> list[str]:
        offered = super().expel(slots)
        memory = self._memory
        for key in [key for key in memory.seen if slot_of(key) in slots]:
            del memory.seen[key]
            self._waits.pop(key, None)
            hold(key not in memory.handed, "p27: expelled before it is on the disk", key)
        self._touched.ids = {}
        self._schedules = dict(self.state.schedules)
        return offered

    def apply(self, command: StoreCommand, now: int) -> Reply:
        reply = super().apply(command, now)
        named: Iterable[str] = touched(self.state, command)
        if type(command) is TaskHeartbeat:
            holder = self.state.holders.get(command.pid)
            named = () if holder is None else tuple(holder.held)
        self._check("apply", named, command, reply)
        return reply

    def assign(self, task_id: str, version: int, pid: str, ttl: int, now: int) -> Assigned | None:
        assigned = super().assign(task_id, version, pid, ttl, now)
        self._check("assign", () if assigned is None else (task_id,))
        return assigned

    def sweep(self, now: int, looked_up_at: int | None = None) -> bool:
        more = super().sweep(now, looked_up_at)
        self._check("sweep", ())
        return more

    def follow(self, ahead: int, now: int) -> None:
        super().follow(ahead, now)
        self._check("follow", ())

    def occurred(self, schedule_id: str, date: int) -> None:
        super().occurred(schedule_id, date)
        self._check("occurred", ())

    def release_pid(
        self,
        pid: str,
        now: int,
        keep: Collection[tuple[str, int]] = (),
        crash: str | None = None,
        presumed: bool = False,
    ) -> list[str]:
        ids = super().release_pid(pid, now, keep, crash, presumed)
        self._check("release", ids)
        return ids

    def take_executes(self) -> list[Execute]:
        executes = super().take_executes()
        for execute in executes:
            promise = self.state.promises[execute.id]
            task = promise.task
            assert task is not None
            hold(task.version == execute.version, "p15", execute)
            hold(promise.record.timeout_at > self.state.now, "p14: offered", execute)
            hold(execute.target == canonical(promise.record.tags[TAG_TARGET]), "p15", execute)
            hold((task.retry_at or 0) > self.state.now, "p21: not armed anew", execute)
        return executes

    def take(self) -> Changes:
        changes = super().take()
        self._touched = _Touched()
        self.state.dirty = self._touched
        return changes

    def check_all(self) -> None:
        """Check the whole state as the unit tests do."""
        check_state(self, self._history())

    # One transition ----------------------------------------------------------------------------

    def _check(
        self,
        kind: str,
        named: Iterable[str],
        command: StoreCommand | None = None,
        reply: Reply | None = None,
    ) -> None:
        memory = self._memory
        memory.count.transitions += 1
        promises, seen, now = self.state.promises, memory.seen, self.state.now
        ids, self._touched.ids = self._touched.ids, {}
        ids.update(dict.fromkeys(named))
        changed: list[tuple[str, Seen | None, Seen]] = []
        for key in ids:
            promise = promises.get(key)
            if promise is None:
                hold(key not in seen or command is not None, "p06: vanished", key)
                continue
            new, old = look(promise), seen.get(key)
            if new != old:
                seen[key] = new
                changed.append((key, old, new))
        for key, old, new in changed:
            _check_state(key, new, now)
            _check_step(key, old, new, now, kind)
            _check_resumes(key, old, new, command)
            if new.state == "acquired" and (old is None or old.version != new.version):
                assert new.pid is not None
                memory.hand(key, new.version, new.pid)
            if new.callbacks != (old.callbacks if old else ()):
                self._callbacks(key, old.callbacks if old else (), new.callbacks)
        resumed = {
            awaiter
            for _, old, new in changed
            if old is not None
            for awaiter in old.callbacks
            if awaiter not in new.callbacks
        }
        for key, old, new in changed:
            if (
                old is not None
                and old.awaits != new.awaits
                and _check_awaits(key, old, new, command)
            ):
                resumed.add(key)
        for key, old, new in changed:
            _check_edge(kind, key, old, new, command, reply, resumed=key in resumed)
            self._check_waiting(key, old, new, command, reply)
        if self._schedules or self.state.schedules:
            date = now - self.state.ahead
            check_schedules(self._schedules, self.state.schedules, kind, command, now, date)
            self._schedules = dict(self.state.schedules)
        if reply is not None and command is not None:
            self._check_reply(command, reply, now)
            if type(command) in _HELD and reply.ok:
                self._check_held(command)  # type: ignore[arg-type]

    def _callbacks(self, key: str, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        for awaiter in old:
            if awaiter not in new:
                self._waits[awaiter].discard(key)
        for awaiter in new:
            self._waits.setdefault(awaiter, set()).add(key)

    def _check_waiting(
        self,
        key: str,
        old: Seen | None,
        new: Seen,
        command: StoreCommand | None,
        reply: Reply | None,
    ) -> None:
        if new.state == "suspended":
            waits = bool(self._waits.get(key) or new.awaits)
            hold(waits, "p12: nothing would resume it", key, new)
        if old is None:
            return
        for awaiter in old.callbacks:
            if awaiter not in new.callbacks:
                hold(new.record.state != PENDING, "p13: a callback vanished", key, awaiter)
                task = self._memory.seen[awaiter]
                told = type(command) is TaskSuspend and command.id == awaiter
                told = told and reply is not None and reply.status == 300
                hold(
                    key in task.resumes or task.state == "fulfilled" or told,
                    "p13: an awaiter does not learn", key, awaiter, task,
                )  # fmt: skip
        for address in old.listeners:
            if address not in new.listeners:
                owed = self.state.unblocks.get((key, address))
                hold(owed == new.record, "p13: an unblock is not owed", key, address)

    def _check_held(self, command: TaskFence | TaskFulfill | TaskRelease | TaskSuspend) -> None:
        """Check that the sender held the latest version, and ended no task with open calls."""
        version = self._memory.seen[command.id].version
        hold(command.version == version, "p10: a stale write was applied", command, version)
        if type(command) is TaskFulfill:
            for child in children_of(self.state, command.id):
                tags = self._memory.seen[child].record.tags
                attached = TAG_TARGET in tags or tags.get(TAG_SCOPE) == LOCAL
                hold(not attached, "a parent ends before its child", command.id, child)

    def _check_reply(self, command: StoreCommand, reply: Reply, now: int) -> None:
        """Check p03 and p17: a reply says what is stored."""
        asked = type(command) in (PromiseSettle, TaskFulfill) and command.state == TIMEDOUT  # type: ignore[union-attr]
        hold(not asked or reply.status == 400, "p03: a timeout was asked for", command)
        within = type(command) is TaskFence
        for each in (reply, *(one for one in reply.replies or () if one is not None)):
            for p in (each.promise, *(each.promises or ())):
                if p is None:
                    continue
                live = self.state.promises[p.id].record
                hold(p.state != PENDING or p.timeout_at > now, "p17: not projected", p)
                hold(live == p or (within and p.state == PENDING), "p17: not what is", p, live)
        if type(command) is PromiseRegisterListener and reply.ok:
            p = self.state.promises[command.awaited].record
            hold(reply.promise == p, "p17: not what is", reply, p)


_SETTLED: Final = (None, "fulfilled")
_HELD: Final = frozenset((TaskFence, TaskFulfill, TaskRelease, TaskSuspend))


def _check_state(key: str, new: Seen, now: int) -> None:
    """Check p01, p02, p03, p07, p08, p09, p18, p22, p24 and p25 for one object."""
    p = new.record
    pending = p.state == PENDING
    hold((p.settled_at is None) == pending, "p01", p)
    hold(not pending or p.value == EMPTY, "p01", p)
    if p.settled_at is None:
        hold(p.created_at < p.timeout_at, "p02", p)
        hold(new.state != "fulfilled", "p08", new)
    else:
        hold(p.created_at <= p.settled_at <= p.timeout_at, "p02", p)
        hold(p.state != TIMEDOUT or p.settled_at == p.timeout_at, "p03", p)
        hold(not new.callbacks and not new.listeners, "p18", new)
        hold(new.state in _SETTLED, "p08", new)
    hold((new.state is not None) == (TAG_TARGET in p.tags), "p08", new)
    if new.callbacks or any(slot_of_address(each) is None for each in new.listeners):
        hold(is_external(p), "p07", new)
        hold(key not in new.callbacks, "p07", new)
    hold(p.created_at <= now and (p.settled_at or 0) <= now, "p24", p, now)
    hold(not (is_timer(p) and TAG_TARGET in p.tags), "p25", p)
    hold(not new.resumes or new.state not in ("suspended", "fulfilled"), "p22", new)
    acquired = new.state == "acquired"
    lease = (new.pid is not None, new.ttl is not None, new.expires_at is not None)
    hold(lease == (acquired, acquired, acquired), "p09", new)
    hold(not acquired or new.version >= 1, "p09", new)


def _check_step(key: str, old: Seen | None, new: Seen, now: int, kind: str) -> None:
    """Check p04, p05, p10, p11, p12, p14 and p16 for one object and one transition."""
    p = new.record
    settled = p.settled_at is not None
    if settled and (old is None or old.record.settled_at is None):
        _check_settlement(p, now, kind)
    entered = old is None or old.state != new.state
    renewed = new.expires_at is not None and (old is None or old.expires_at != new.expires_at)
    if renewed:
        hold(new.expires_at == now + (new.ttl or 0), "p11", old, new, now)
    if old is None:
        hold(new.version == (1 if new.state == "acquired" else 0), "p10", new)
        moved = new.state in ("pending", "acquired")
    else:
        _check_made(old.record, p)
        acquired = old.state == "pending" and new.state == "acquired"
        hold(new.version == old.version + acquired, "p10", old, new)
        if old.state == new.state == "acquired":
            hold((old.pid, old.ttl) == (new.pid, new.ttl), "p11", old, new)
        if old.state == "suspended" and new.state == "pending":
            hold(bool(new.resumes), "p12: resumed by nothing", old, new)
        moved = (entered and new.state in ("pending", "acquired")) or renewed
        moved = moved or not set(new.resumes) <= set(old.resumes)
        if kind == "sweep" and entered:
            hold(new.state in ("pending", "fulfilled"), "p16", old, new)
            hold(old.state != "halted" or new.state == "fulfilled", "p16", old, new)
    if moved:
        hold(not settled and p.timeout_at > now, "p14", old, new, now)


def _check_edge(
    kind: str,
    key: str,
    old: Seen | None,
    new: Seen,
    command: StoreCommand | None,
    reply: Reply | None,
    *,
    resumed: bool,
) -> None:
    """Check p20 for one object and one transition."""
    if new.state is None:
        return
    edge = (None if old is None else old.state, str(new.state))
    p = new.record
    settled = p.settled_at is not None and (old is None or old.record.settled_at is None)
    if command is not None and reply is not None and getattr(command, "id", None) == key:
        edges.check_own(command, reply, edge, expired=settled and p.settled_at == p.timeout_at)
    elif edge[0] != edge[1]:
        edges.check_other(kind, command, key, edge, settled=settled, resumed=resumed)


def _check_awaits(key: str, old: Seen, new: Seen, command: StoreCommand | None) -> bool:
    """Check p12 and p13 for a task that waits elsewhere; return whether it has heard of an end."""
    ended = [awaited for awaited in old.awaits if awaited not in new.awaits]
    if not ended or new.state == "fulfilled":
        return False
    heard = type(command) is PromiseAnnounce and ended == [command.promise.id]
    hold(heard, "p12: a wait elsewhere vanished", key, ended, command)
    hold(set(ended) <= set(new.resumes), "p13: an awaiter does not learn", key, ended, new)
    return True


def _check_resumes(key: str, old: Seen | None, new: Seen, command: StoreCommand | None) -> None:
    """Check p22 for one object and one transition."""
    if old is None or new.resumes[: len(old.resumes)] == old.resumes:
        return
    suspends = type(command) is TaskSuspend and command.id == key
    learns = (old.state, new.state) == ("pending", "acquired") or suspends
    hold(learns or new.state == "fulfilled", "p22", old, new, command)
    hold(not new.resumes, "p22", old, new)


def _check_settlement(p: PromiseRecord, now: int, kind: str) -> None:
    at = p.settled_at
    client = p.state != TIMEDOUT and at == now < p.timeout_at
    state = RESOLVED if is_timer(p) else TIMEDOUT
    deadline = at == p.timeout_at <= now and p.value == EMPTY and p.state == state
    hold(client or deadline, "p04", p, now)
    hold(kind != "sweep" or deadline, "p16", p, now)


def _check_made(old: PromiseRecord, new: PromiseRecord) -> None:
    if old is new:
        return
    if old.settled_at is not None:
        hold(old == new, "p05", old, new)
    same: Any = (old.param, old.tags, old.timeout_at, old.created_at)
    hold(same == (new.param, new.tags, new.timeout_at, new.created_at), "p05", old, new)


__all__ = ["CANCELED", "Memory", "Violation", "Watched", "hold"]
