"""A world: hosts, brokers, a network and disks with one clock and one random generator.

Everything that can happen is an event on a heap. Events happen one at a time, and between any two
of them a process may die. `run` plays a plan: first with faults, then, in the fair phase, without,
until all work is done. Then every result must be that of the plain program.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from heapq import heappop, heappush
from typing import Any

import msgspec

from tests.simulation import ending, faults
from tests.simulation.broker import BrokerHost
from tests.simulation.linked import Linked
from tests.simulation.links import Link
from tests.simulation.observations import Count, Violation, hold
from tests.simulation.peers import PeerHost
from tests.simulation.people import People
from tests.simulation.plan import Plan
from tests.simulation.programs import (
    CAST,
    GROUPS,
    Program,
    environment_of,
    plain,
)
from tests.simulation.shared.stored import SharedDatabase
from tests.simulation.slot_peer import SlotPeer
from tests.simulation.stored import OwnDisks
from tests.simulation.tracing import frame_in_short, shown
from tests.simulation.wire import Connection
from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.inline import inline_call
from understudy_actors.interpreter import routine
from understudy_broker.core.task_queue import Callee
from understudy_broker.protocol.messages import (
    Invoke,
    Response,
    Resume,
    Settled,
    SlotMap,
    ToPeer,
    Unblock,
)
from understudy_broker.protocol.placement import shared_out
from understudy_store.records import (
    CANCELED,
    EMPTY,
    HEADER_FUNCTION,
    HEADER_VERSION,
    PENDING,
    RESOLVED,
    PromiseRecord,
    Row,
    pid_of,
)

#: The names of the brokers, where there are several. They decide who has which slots.
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
#: One second before a full minute, when cron expressions come due.
START_MS = 1_700_000_039_000
#: Bounds for worlds that would not end.
EVENTS_MAX = 60_000
FAIR_MS_MAX = 600_000

Act = Callable[[], None]


class World:
    """One simulated system.

    Parameters
    ----------
    trace
        Whether to collect the events as lines of text.
    stops
        Processes to kill: the number of the event before which each is killed, and its name or
        place.
    """

    def __init__(
        self, plan: Plan, *, trace: bool = False, stops: Mapping[int, str] | None = None
    ) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed ^ 0x5EED)
        self.trace: list[str] | None = [] if trace else None
        self.began = self.now = START_MS
        self.counts: Counter[str] = Counter()
        self.events = 0
        #: True in the fair phase, which has no faults.
        self.fair = False
        self._stops = dict(stops or ())
        #: The number of the event after which to check whether all work is done.
        self._look_at = 0
        #: The last event in which a caller was told a result, or something was stored.
        self.told_at = 0
        self.frame_rate = plan.frame_rate
        self._heap: list[tuple[int, float, int, Act]] = []
        self._serial = 0
        self._random = self.rng.random
        self.count = Count()
        self.connections: dict[bytes, Connection] = {}
        names = NAMES[: plan.brokers] if plan.brokers > 1 else ("broker",)
        self.brokers = [BrokerHost(self, name, self._slots_of(name, names)) for name in names]
        self.stored: OwnDisks | SharedDatabase
        if plan.shared:
            self.stored = SharedDatabase(self, self.brokers, self.count)
        else:
            slots = shared_out([(name, f"inproc://{name}") for name in names])
            self.stored = OwnDisks(self.brokers, slots, self.count)
        self.peers = [PeerHost(self, place, group) for place, group in enumerate(plan.nodes)]
        self.nodes = list(self.peers)
        for _ in range(plan.clients):
            self.peers.append(PeerHost(self, len(self.peers), None))
        self.clients = self.peers[len(self.nodes) :]
        hosts: list[Linked] = list(self.peers)
        for broker in self.brokers if plan.brokers > 1 else ():
            broker.peer = SlotPeer(self, broker)
            hosts.append(broker.peer)
        self.links = [link for host in hosts for link in host.links]
        for root in plan.roots:
            for owner in root.owners:
                self.peers[owner].roots.append(root)
        if "clock" in plan.faults:
            for host in self.peers:
                host.skew_ms = self.pick((-100_000, -1_000, 0, 0, 100_000))
        self.people = People(self)
        self.expected: dict[str, Program] = {root.id: root.program for root in plan.roots}
        self.may_cancel = {root.id for root in plan.roots if root.cancel}
        self.acked: dict[str, None] = {}
        self.results: dict[str, PromiseRecord] = {}
        #: How often each leaf was performed, and the current run.
        self.effects: Counter[str] = Counter()
        self._run: Run | None = None
        #: What a function has seen that must not be.
        self._violation: Violation | None = None
        #: The time at which each durable sleep first began.
        self._slept_since: dict[str, int] = {}
        #: The largest difference between the clocks of peers and broker.
        self.lag_ms = 0
        #: The farthest that a broker's clock was set ahead while it ran.
        self.set_ahead_ms = 0
        #: The largest error of the clocks of brokers that share a database.
        self.apart_ms = 0
        self._faults_left = plan.faults_max

    # Places --------------------------------------------------------------------------------------

    def _slots_of(self, name: str, names: Sequence[str]) -> SlotMap | None:
        """Return the map of slots that a broker starts with."""
        if self.plan.shared:
            # It has no slots until the database says so.
            return SlotMap(0, ((name, f"inproc://{name}"),), ())
        if len(names) == 1:
            return None
        return shared_out([(each, f"inproc://{each}") for each in names])

    def row(self, id_: str) -> Row | None:
        """Return a promise and its task as they are stored; None: they are not."""
        return self.stored.row(id_)

    @property
    def rows(self) -> Mapping[str, Row]:
        """All that is stored."""
        return self.stored.rows

    # Time and chance -----------------------------------------------------------------------------

    def after(self, ms: int, act: Act) -> None:
        """Schedule an event in `ms`; events of the same moment happen in random order."""
        self._serial += 1
        heappush(self._heap, (self.now + ms, self._random(), self._serial, act))

    def pick(self, among: Sequence[int]) -> int:
        return among[int(self._random() * len(among))]

    def frame_ms(self) -> int:
        return self.pick(self.plan.frame_ms)

    def step_ms(self) -> int:
        return self.pick(self.plan.step_ms)

    def disk_ms(self) -> int:
        return self.pick(self.plan.disk_ms)

    def lookup_ms(self) -> int:
        return self.pick(self.plan.lookup_ms)

    def net_ms(self) -> int:
        """Return how long a request to the database is on its way, or an answer."""
        return self.pick(self.plan.net_ms)

    # Playing -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all hosts."""
        CAST.stage = self
        for broker, at_ms in zip(self.brokers, self.plan.starts_ms, strict=False):
            self.after(at_ms, broker.start)
        for broker in self.brokers[len(self.plan.starts_ms) :]:
            broker.start()
        for host in self.peers:
            self.after(self.frame_ms(), host.start)
        self.after(20, self.people.begin)
        if not self.plan.faults:
            self.begin_fair_phase()
        else:
            self.after(self.plan.unfair_ms, self.begin_fair_phase)

    def step(self) -> bool:
        """Perform the next event; return False when all work is done."""
        if self._stops:
            self._stop(self._stops.pop(self.events + 1, None))
        at, _, _, act = heappop(self._heap)
        self.now = at
        self.events += 1
        act()
        if self._violation is not None:
            raise self._violation
        if not self.fair:
            if self._random() < self.plan.fault_rate:
                self._disturb()
        elif self.events >= self._look_at:
            if self.finished():
                return False
            # The distance varies, because a world that repeats a cycle must not be checked at the
            # same place of the cycle each time.
            self._look_at = self.events + 5 + int(self._random() * 7)
        if self.events >= EVENTS_MAX:
            raise Violation(f"p18: the world does not end: {ending.unfinished(self)}")
        return True

    def run(self) -> None:
        """Play the plan to its end, and check the outcome."""
        with _bounds(self.plan), self.stored.at_work():
            self.start()
            while self.step():
                pass
            ending.check(self)

    def _stop(self, victim: str | None) -> None:
        broker = next((each for each in self.brokers if each.name == victim), None)
        if broker is not None:
            broker.crash()
        elif victim is not None:
            # "n0" and "c3" are places, which stay the same when a new process has a new name.
            self.peers[int(victim[1:])].crash(away_ms=500)

    def _disturb(self) -> None:
        if self._faults_left <= 0:
            self.begin_fair_phase()
            return
        self._faults_left -= 1
        faults.strike(self)

    def begin_fair_phase(self) -> None:
        """Begin the fair phase: all processes are up, and nothing fails from now on."""
        if self.fair:
            return
        self.fair = True
        self.frame_rate = 0.0
        self.say("world", "is fair from now on")
        faults.heal(self)
        self._fair_until = self.now + FAIR_MS_MAX

    # What hosts call -----------------------------------------------------------------------------

    def connect(self, link: Link) -> Connection:
        """Make a connection to a broker, which must be alive."""
        self.counts["connections"] += 1
        connection = Connection(self, link, self.counts["connections"])
        self.connections[connection.id] = connection
        self.say(link.host.name, "connects", connection.id)
        return connection

    def say(self, who: str, what: str, *about: Any) -> None:
        """Add a line to the trace."""
        if self.trace is not None:
            said = " ".join(map(shown, about))
            self.trace.append(f"{self.events} +{self.now - self.began} {who} {what} {said}")

    def say_frame(self, who: str, to: str, frame: bytes) -> None:
        """Add a line to the trace about a frame that is sent."""
        if self.trace is not None:
            self.say(who, f"to {to}:", frame_in_short(frame))

    def perform(self, host: PeerHost, run: Run, now_ms: int) -> StepReport:
        """Step a run, with this world as the stage of its function."""
        self.counts["steps"] += 1
        self._run = run
        try:
            # On a loop, coroutines have context variables of their own; here they are given some.
            output = copy_context().run(run.routine.step, now_ms)
            inlined = inline_call(
                run.routine,
                output,
                lambda _: self._random() < 0.5,
                lambda quick: copy_context().run(quick.step, now_ms),
            )
            return StepReport(run, output, True, inlined)
        finally:
            self._run = None

    def fail(self, text: str) -> None:
        """End the world with a violation, after the present event."""
        self._violation = Violation(text)

    def received(self, host: Linked, messages: Sequence[ToPeer]) -> None:
        """Check messages to a peer: their content is on the disk; each version has one holder."""
        for message in messages:
            if isinstance(message, Response):
                reply = message.reply
                if reply.promise is not None:
                    self._told(reply.promise)
                for record in reply.promises or ():
                    self._told(record)
            elif isinstance(message, Settled):
                for record in message.promises:
                    self._told(record)
            elif isinstance(message, Unblock):
                self._told(message.promise)
            elif isinstance(message, Invoke | Resume):
                self.counts["invokes" if isinstance(message, Invoke) else "resumes"] += 1
                key = (message.promise.id, message.version)
                row = self.row(message.promise.id)
                task = None if row is None else row.task
                hold(task is not None and task.version >= message.version, "p15", message, task)
                hold(_callee(message.promise) in host.callees, "handed to a node without it", key)
                pid = self.stored.durable.holders.get(key)
                hold(pid == pid_of(host.name, str(host.epoch)), "p10: given to another", key, pid)
                self._told(message.promise)

    def _told(self, record: PromiseRecord) -> None:
        row = self.row(record.id)
        hold(row is not None, "told before it is on the disk", record)
        if row is not None and record.state != PENDING:
            stored = row.promise
            if record.param == EMPTY:
                # What was called with is not told between slots.
                stored = msgspec.structs.replace(stored, param=EMPTY)
            on_time = stored == record or (
                # The state is projected: the row follows with the next sweep.
                row.promise.state == PENDING and record.settled_at == record.timeout_at
            )
            hold(on_time, "p17: told what the disk does not say", record, row.promise)

    def acknowledged(self, id_: str) -> None:
        """Note that a caller was told that its call is stored."""
        hold(self.row(id_) is not None, "acknowledged and not on the disk", id_)
        self.acked[id_] = None

    def result(self, host: PeerHost, record: PromiseRecord) -> None:
        """Check the result that a caller was told: it is the same each time."""
        known = self.results.setdefault(record.id, record)
        hold(known == record, "p17: another result", known, record)
        self.say(host.name, "is told", record.id, record.state)
        self.told_at = self.events
        self.check_result(record)

    def check_result(self, record: PromiseRecord) -> None:
        """Check that a call ended as the plain program does, or was canceled and may be."""
        if record.state == CANCELED and record.id in self.may_cancel:
            return
        hold(record.state == RESOLVED, "failed", record, self._error(record))
        value = environment_of(GROUPS[0]).values.decode_value(record.value.data)
        right = plain(self.expected[record.id])
        hold(value == right, "a wrong result", record.id, value, right)

    def _error(self, record: PromiseRecord) -> str:
        return repr(environment_of(GROUPS[0]).values.settled_error(record))

    # The stage -----------------------------------------------------------------------------------

    def performs(self, promise_id: str) -> None:
        """Check that no step is performed whose result was stored when its task was handed out."""
        self.effects[promise_id] += 1
        run = self._run
        assert run is not None
        activation = run.activation
        durable = self.stored.durable
        stored = durable.settled.get(promise_id)
        given = durable.acquired.get((activation.id, activation.version))
        if stored is not None and given is not None and stored < given:
            # Raised here, it would be taken for an error of the function.
            self._violation = Violation(
                f"a stored step is performed again: {promise_id}, {activation.version}"
            )

    def wants(self, promise_id: str, value: int) -> None:
        self.people.want(promise_id, value)

    def sleep_begins(self, place: str) -> None:
        self._slept_since.setdefault(place, self.now)

    def sleep_ends(self, place: str, ms: int) -> None:
        """Check that no sleep ends early, unless a broker's clock was set between two starts."""
        slept_ms = self.now - self._slept_since[place]
        early = slept_ms < ms - self.lag_ms - 2 * self.apart_ms
        was_set = any(broker.was_set for broker in self.brokers)
        if early and not was_set:
            self._violation = Violation(f"a sleep ends early: {place}, {ms}, {slept_ms}")

    def detaches(self, promise_id: str, program: Program) -> None:
        self.expected[promise_id] = program

    # The end -------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Return whether everything is done and every process is idle."""
        if self.now >= self._fair_until:
            raise Violation(f"p18: not done in time: {ending.unfinished(self)}")
        for broker in self.brokers:
            if not broker.has_retired and (not broker.idle or broker.machine.state.pending):
                return False
        return not ending.unfinished(self)


def _callee(promise: PromiseRecord) -> Callee:
    headers = promise.param.headers
    return headers[HEADER_FUNCTION], headers.get(HEADER_VERSION)


@contextmanager
def _bounds(plan: Plan) -> Iterator[None]:
    """Lower the interpreter's bounds, because small programs would never reach the real ones."""
    bounds = vars(routine)
    small = {
        "FLUSH_COMMANDS": plan.flush_commands,
        "UNANSWERED_MAX": plan.unanswered_max,
        "UNANSWERED_LOW": plan.unanswered_max // 2,
    }
    usual = {name: bounds[name] for name in small}
    bounds.update(small)
    try:
        yield
    finally:
        bounds.update(usual)


__all__ = ["Violation", "World"]
