"""The processes at the other end: what `understudy.connection` and its link do, on fake threads.

A host is a client, or a node as well. Its real parts are the link core and the node core; the
executor steps a routine when the world says so, and the result comes back some time later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import hold
from tests.simulation.plan import Root
from tests.simulation.programs import environment_of
from understudy_actors.interpreter.outputs import Output
from understudy_actors.interpreter.routine import Routine
from understudy_actors.node.activation import Run
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_broker.clock import PeerClock
from understudy_broker.linkcore import LinkCore
from understudy_broker.protocol.frames import FrameLimits, decode_to_peer
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    AnyCommand,
    Bye,
    Hello,
    PromiseWatch,
    Refused,
    Response,
    Settled,
    ToBroker,
    ToPeer,
    Unblock,
    Welcome,
)
from understudy_store.commands import PromiseCreate, PromiseRegisterListener, TaskCreate
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    TAG_TARGET,
    PromiseRecord,
    Value,
)

if TYPE_CHECKING:
    from tests.simulation.wire import Connection
    from tests.simulation.world import World

DAY_MS = 86_400_000
NS = 1_000_000
#: how often the node's timers are looked at, while there are any
TICK_MS = 20
#: between attempts to connect
BACKOFF_MS = (50, 1_000)
CALLERS = "callers"

OnReply = Callable[[Response | Refused], None]


class PeerHost:
    """A machine with one process of ours at a time."""

    def __init__(self, world: World, place: int, group: str | None) -> None:
        self.world = world
        self.place = place
        #: None: a client, and never a node
        self.group = group
        self.name = f"n{place}" if group else f"c{place}"
        self.epoch = 0
        self.alive = False
        #: a node that is to leave, or has left
        self.draining = False
        self.frozen_until = 0
        self.partitioned_until = 0
        self.skew_ms = 0
        self.connection: Connection | None = None
        self.roots: list[Root] = []
        #: roots whose result this host has been told, in any of its lives
        self.told: set[str] = set()

    # Life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process, which knows nothing of the one before it."""
        if self.alive:
            return
        plan = self.world.plan
        self.epoch += 1
        self.alive, self.draining = True, False
        if self.group is None:
            # whoever calls again is another process, of another name
            self.name = f"c{self.place}-{self.epoch}"
        elif self.world.rng.random() < 0.3:
            # a node of another name: what the one before it held is found by its silence alone
            self.name = f"n{self.place}-{self.epoch}"
        world = self.world
        self._clock = PeerClock(
            wall_ns=lambda: (world.now + self.skew_ms) * NS, elapsed_ns=lambda: world.now * NS
        )
        self.link = LinkCore(limits=FrameLimits(messages_max=plan.frame_messages))
        self.queue: list[Run] = []
        self.stepping = 0
        self.results: list[tuple[Run, Output, bool]] = []
        self._inbox: deque[bytes] = deque()
        self._due: int | None = None
        self._ticking = False
        self._connecting = False
        self._welcomed_here = False
        self._rejoining = False
        self._backoff_ms = BACKOFF_MS[0]
        self._connected_at = 0
        self._welcome: Welcome | None = None
        self._watches: set[str] = set()
        config = NodeConfig(
            concurrency=plan.concurrency,
            linger_ms=plan.linger_ms,
            warm_max=plan.warm_max,
            ahead_max=2,
            fence_commands_max=plan.fence_commands,
        )
        self.core = NodeCore(environment_of(self.group or CALLERS), self, self, config)
        if self.group is not None:
            self.core.serve()
        self._connect()
        for root in self.roots:
            self.later(max(0, root.at_ms - (self.world.now - self.world.began)), self._caller(root))

    def crash(self, why: str = "killed", away_ms: int | None = None) -> None:
        """The process ends between two steps; the kernel closes its connection."""
        if not self.alive:
            return
        world = self.world
        world.say(self.name, why)
        world.counts["node crashes" if self.group else "client crashes"] += 1
        self.alive = False
        self.epoch += 1
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.left_by_peer()
        if away_ms is None:
            away_ms = world.pick((1, 20, 100, 1_000))
        world.after(away_ms, self.start)

    def later(self, ms: int, act: Callable[[], None]) -> None:
        """Do it in `ms`, if this process still lives then, and after it has thawed."""
        epoch, world = self.epoch, self.world

        def due() -> None:
            if self.epoch != epoch:
                return
            if self.frozen_until > world.now:
                world.after(self.frozen_until - world.now, due)
            else:
                act()

        world.after(ms, due)

    @property
    def address(self) -> str:
        """Where unblocks for this process go, and nowhere else."""
        return f"poll://uni@{CALLERS}/{self.name}"

    @property
    def now_ms(self) -> int:
        """The time, as this process knows it."""
        return self._clock()

    @property
    def idle(self) -> bool:
        """Nothing is held, run or asked."""
        return (
            self.alive
            and not self.core.activations
            and not self.link.unanswered
            and not (self.queue or self.stepping or self.results or self._inbox)
            and self.told.issuperset(root.id for root in self.roots)
        )

    # The link's shell ----------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._connecting or self.connection is not None:
            return
        self._connecting = True
        self.later(self.world.frame_ms(), self._connected)

    def _connected(self) -> None:
        world = self.world
        self._connecting = False
        if not world.broker.alive or self.partitioned_until > world.now:
            self._retry()
            return
        self._welcomed_here = self._rejoining = False
        self._connected_at = world.now
        self.connection = world.connect(self)
        self.connection.send_up(self.link.opened(self._hello(), world.now))
        self._wake_link()

    def _retry(self) -> None:
        self._connecting = True
        wait_ms = int(self._backoff_ms * (0.5 + self.world.rng.random() / 2))
        self._backoff_ms = min(2 * self._backoff_ms, BACKOFF_MS[1])
        self.later(wait_ms, self._connected)

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="node" if self.group else "client",
            group=self.group or CALLERS,
            name=self.name,
            boot=str(self.epoch),
            os_pid=1,
            host="sim",
            sdk="sim",
            credit=self.core.new_session(),
            claims=self.core.claims(),
        )

    def take(self, frame: bytes) -> None:
        """A frame has arrived."""
        self._inbox.append(frame)
        if self.frozen_until > self.world.now:
            self.later(0, self._read)
        else:
            self._read()

    def _read(self) -> None:
        if not self._inbox:
            return
        now = self.world.now
        inbox, self._inbox = self._inbox, deque()
        for frame in inbox:
            if not self.link.in_order(frame):
                continue
            messages = decode_to_peer(frame)
            self.world.received(self, messages)
            rest: list[ToPeer] = []
            for message in self.link.received(messages, now):
                if type(message) is Welcome:
                    self._welcomed(message)
                else:
                    rest.append(message)
            if rest:
                self._on_messages(rest)
        if self.link.failure is not None:
            self.crash(f"ends: {self.link.failure}", self.world.pick((100, 1_000)))
            return
        self.flush()

    def lose(self, connection: Connection) -> None:
        """The kernel says that this connection is closed."""

        def lost() -> None:
            if self.connection is connection:
                self._give_up("closed")

        if self.alive:
            self.later(0, lost)

    def _give_up(self, why: str) -> None:
        connection, self.connection = self.connection, None
        assert connection is not None
        connection.left_by_peer()
        self._inbox.clear()
        if self.link.lost(why):
            self.core.disconnected()
        lasted_ms = self.world.now - self._connected_at
        if self._rejoining or (self._welcomed_here and lasted_ms >= BACKOFF_MS[1]):
            self._backoff_ms = BACKOFF_MS[0]
            self._connect()
        else:
            self._retry()

    def flush(self) -> None:
        """Send what has been asked and said; give up a connection that is silent."""
        connection, link, now = self.connection, self.link, self.world.now
        if connection is None:
            return
        if link.broken(now):
            self._give_up(link.last_error or "silent")
            return
        for frame in link.take_frames(now):
            self.world.say_frame(self.name, "broker", frame)
            connection.send_up(frame)
        self._wake_link()

    def _wake_link(self) -> None:
        due = self.link.next_due()
        if self._due is None or due < self._due:
            self._due = due
            self.later(max(0, due - self.world.now), self._timed(due))

    def _timed(self, due: int) -> Callable[[], None]:
        def act() -> None:
            if self._due == due:
                self._due = None
                self.flush()

        return act

    def _welcomed(self, welcome: Welcome) -> None:
        reconnected = self._welcome is not None
        self._welcome = welcome
        self._welcomed_here = True
        self._clock.told(welcome.now, self.link.round_trip_ms)
        self.world.lag_ms = max(self.world.lag_ms, 1 + self.link.round_trip_ms // 2)
        self.core.connected(welcome.lost, reconnected)
        if self.group is not None:
            self.core.grant()
        if reconnected and self._watches:
            self._send_watch(tuple(sorted(self._watches)))

    def _on_messages(self, messages: list[ToPeer]) -> None:
        for message in messages:
            if isinstance(message, Settled):
                self._resolve(message.promises)
            elif isinstance(message, Unblock):
                self.link.send(Ack(message.promise.id, message.address))
                self._resolve([message.promise])
        self.core.receive(messages, self.now_ms)
        self.core.grant()
        self._wake_node()

    # The port of the node's core -----------------------------------------------------------------

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        return self.link.request(command, on_reply)

    def send(self, message: ToBroker) -> bool:
        return self.link.send(message)

    def cork(self) -> None:
        """All that one event asks for leaves together anyway."""

    def uncork(self) -> None: ...

    # The executor --------------------------------------------------------------------------------

    def submit(self, run: Run) -> None:
        run.routine.flush = partial(self._hand_out, run)
        self.queue.append(run)
        self.later(self.world.frame_ms(), self._step)

    def withdraw(self, run: Run) -> bool:
        if run in self.queue:
            self.queue.remove(run)
            return True
        return False

    def close(self, run: Run) -> None:
        if not run.scheduled:
            run.routine.close()

    def _step(self) -> None:
        """A thread takes the next run, if one is free."""
        if not self.queue or self.stepping >= self.world.plan.concurrency:
            return
        run = self.queue.pop(0)
        routine = run.routine
        if routine.dropped:
            routine.close()
            self.later(0, self._step)
            return
        self.world.say(self.name, "steps", routine.id, run.activation.version)
        self.stepping += 1
        output = self.world.perform(self, run, self.now_ms)
        self.later(self.world.step_ms(), lambda: self._stepped(run, output))

    def _hand_out(self, run: Run, _: Routine, output: Output) -> None:
        """A long step passes on what it has so far."""
        self.results.append((run, output, False))
        self.later(0, self._collect)

    def _stepped(self, run: Run, output: Output) -> None:
        self.stepping -= 1
        if run.routine.dropped:
            run.routine.close()
        self.results.append((run, output, True))
        self.later(0, self._collect)
        self.later(0, self._step)

    def _collect(self) -> None:
        if not self.results:
            return
        results, self.results = self.results, []
        self.core.observe(len(results), 5.0 * len(results))
        self.core.stepped(results, self.now_ms)
        self.core.grant()
        self._after()

    def _after(self) -> None:
        self.flush()
        self._wake_node()
        if self.draining and not self.core.holding:
            self._leave()

    def _wake_node(self) -> None:
        if not self._ticking and self.core.next_due() is not None:
            self._ticking = True
            self.later(TICK_MS, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        self.core.tick(self.now_ms)
        self._after()

    # Leaving in order ----------------------------------------------------------------------------

    def drain(self) -> None:
        """SIGTERM: finish or hand back what is held, then go."""
        if not self.alive or self.draining or self.group is None:
            return
        self.world.say(self.name, "drains")
        self.world.counts["drains"] += 1
        self.draining = True
        self.core.stop_serving()
        self.core.give_back()
        self.later(1_000, self._leave)
        self._again()

    def _again(self) -> None:
        if self.draining:
            self.core.stop_serving()
            self._after()
            self.later(50, self._again)

    def _leave(self) -> None:
        if not self.draining:
            return
        self.draining = False
        if self.connection is not None:
            self.link.send(Bye())
            self.flush()
        self.world.say(self.name, "leaves")
        self.alive = False
        self.epoch += 1
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.bye()
        self.world.after(self.world.pick((1, 100)), self.start)

    def give_back(self) -> None:
        """What runs has held up the rest for too long: offer the rest to others."""
        if self.alive and self.group is not None:
            self.core.observe_stuck(500.0)
            self.core.give_back()
            self.flush()

    # Calls from outside --------------------------------------------------------------------------

    def _caller(self, root: Root) -> Callable[[], None]:
        return lambda: self._call(root)

    def _call(self, root: Root) -> None:
        if self.draining:
            return
        env = environment_of(self.group or CALLERS)
        data = env.values.encode_call(None, (root.program,), {})
        param = Value({HEADER_KIND: "rpc", HEADER_FUNCTION: "body"}, data)
        tags = {TAG_TARGET: root.group}
        timeout_at = self.now_ms + DAY_MS
        if root.mode == "run":
            group = self.group
            assert group is not None
            ttl = self.world.plan.lease_ttl_ms
            tags = {TAG_TARGET: group}
            pid = f"{self.name}#{self.epoch}"
            command = TaskCreate(pid, ttl, root.id, timeout_at, param, tags)
            self.request(command, lambda answer: self._performs(root, pid, answer))
        else:
            create = PromiseCreate(root.id, timeout_at, param, tags)
            self.request(create, lambda answer: self._created(root, answer))
        if root.id not in self._watches and root.mode != "listen":
            self._watches.add(root.id)
            self._send_watch((root.id,))
        self.flush()

    def _created(self, root: Root, answer: Response | Refused) -> None:
        assert isinstance(answer, Response), answer
        assert answer.reply.ok, answer
        self.world.acknowledged(root.id)
        if root.mode == "listen":
            self.request(PromiseRegisterListener(root.id, self.address), self._listens)

    def _listens(self, answer: Response | Refused) -> None:
        assert isinstance(answer, Response), answer
        record = answer.reply.promise
        assert record is not None, answer
        if record.settled:
            self._resolve([record])

    def _performs(self, root: Root, pid: str, answer: Response | Refused) -> None:
        assert isinstance(answer, Response), answer
        if answer.reply.status == 409:
            return
        assert answer.reply.ok, answer
        self.world.acknowledged(root.id)
        task, promise = answer.reply.task, answer.reply.promise
        if task is not None and promise is not None and task.pid == pid:
            self.core.perform(promise, task.version, task.failures, self.now_ms)
            self._wake_node()

    def _send_watch(self, ids: tuple[str, ...]) -> None:
        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.status == 404:
                # only where frames were swapped, for the create was asked before
                hold(self.world.plan.frame_rate > 0, "watched and absent", ids)
                self.later(50, lambda: self._watch_again(ids))
            elif isinstance(answer, Response):
                self._resolve(answer.reply.promises or ())

        self.request(PromiseWatch(ids), on_reply)

    def _watch_again(self, ids: tuple[str, ...]) -> None:
        left = tuple(each for each in ids if each in self._watches)
        if left:
            self._send_watch(left)
            self.flush()

    def _resolve(self, records: list[PromiseRecord] | tuple[()]) -> None:
        for record in records:
            self._watches.discard(record.id)
            if any(root.id == record.id for root in self.roots):
                self.told.add(record.id)
                self.world.result(self, record)

    def ask(self, command: AnyCommand, on_reply: OnReply) -> None:
        """A person at this host asks for something."""
        self.request(command, on_reply)
        self.flush()


__all__ = ["CALLERS", "PeerHost", "Any"]
