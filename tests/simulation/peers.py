"""Nodes and clients: `understudy.client.connection` and the executor, in one thread.

A host is a client, or a node that may also be a client. The node's core is real; the executor is
simulated: it steps a routine when the world decides, and the result comes back some time later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from tests.simulation.linked import Linked
from tests.simulation.links import Link
from tests.simulation.observations import hold
from tests.simulation.plan import Root
from tests.simulation.programs import environment_of
from understudy_actors.activation import Run, StepReport
from understudy_actors.interpreter.step_result import StepResult
from understudy_actors.node.config import NodeConfig
from understudy_actors.node.core import NodeCore
from understudy_broker.clock import PeerClock
from understudy_broker.core.sessions import callees
from understudy_broker.errors import LinkError
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    AnyCommand,
    Bye,
    Hello,
    PromiseCreateWatched,
    PromiseWatch,
    Refused,
    Response,
    Settled,
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
    pid_of,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

NS = 1_000_000
DAY_MS = 86_400_000
#: The group of the clients.
CALLERS = "callers"
#: The interval between checks of the node's timers, if there are any.
TICK_MS = 20

OnReply = Callable[[Response | Refused], None]


class PeerHost(Linked):
    """A client, or a node that may be a client as well."""

    #: The core of the current process.
    core: NodeCore

    def __init__(self, world: World, place: int, group: str | None) -> None:
        super().__init__(world, f"n{place}" if group else f"c{place}")
        self.place = place
        #: The group of a node; None for a client.
        self.group = group
        #: The release of the code that the next process will have.
        self.release = 0
        self.env = environment_of(group or CALLERS)
        self.skew_ms = 0
        #: True for a node that is leaving or has left.
        self.draining = False
        self.roots: list[Root] = []
        #: Roots whose results any process of this host has received.
        self.told: set[str] = set()

    # Life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a new process, which knows nothing of the one before it."""
        if self.alive:
            return
        world = self.world
        self.epoch += 1
        self.alive = True
        if self.group is None:
            # A client that calls again is another process, with another name.
            self.name = f"c{self.place}-{self.epoch}"
        elif world.rng.random() < 0.3:
            # The new node has another name, so only silence tells that the old one is dead.
            self.name = f"n{self.place}-{self.epoch}"
        self.env = environment_of(self.group or CALLERS, self.release)
        self._functions = tuple(zip(*self.env.functions.announced(), strict=True))
        self.callees = callees(*self._functions)
        self._clock = PeerClock(
            wall_ns=lambda: (world.now + self.skew_ms) * NS, elapsed_ns=lambda: world.now * NS
        )
        #: The link to the broker whose clock is followed.
        self._clock_link: Link | None = None
        self._begin()
        self.open_links(world.brokers[self.place % len(world.brokers)])

    def crash(self, why: str = "killed", away_ms: int | None = None) -> None:
        """End the process between two steps; the kernel closes its connections."""
        if not self.alive:
            return
        world = self.world
        world.say(self.name, why)
        world.counts["node crashes" if self.group else "client crashes"] += 1
        self.alive = False
        self.epoch += 1
        for link in self.links:
            connection = link.end()
            if connection is not None:
                connection.left_by_peer()
        if away_ms is None:
            away_ms = world.pick((1, 20, 100, 1_000))
        world.after(away_ms, self.start)

    def refused(self, error: LinkError) -> None:
        """End the process, because a broker refuses it."""
        self.crash(f"ends: {error}", self.world.pick((100, 1_000)))

    @property
    def now_ms(self) -> int:
        """Return the time by the clock of this process."""
        return self._clock()

    def _begin(self) -> None:
        """Make the parts of a new process."""
        world, plan = self.world, self.world.plan
        self.draining = False
        self.queue: list[Run] = []
        self.stepping = 0
        self.results: list[StepReport] = []
        self._ticking = False
        self._watches: set[str] = set()
        #: The tasks that the last hello over each link has claimed, with their versions.
        self._claims: dict[Link, dict[str, int]] = {}
        config = NodeConfig(
            concurrency=plan.concurrency,
            linger_ms=plan.linger_ms,
            warm_max=plan.warm_max,
            ahead_max=2,
            fence_commands_max=plan.fence_commands,
        )
        self.core = NodeCore(self.env, self, self, config)
        if self.group is not None:
            self.core.serve()
        for root in self.roots:
            self.later(max(0, root.at_ms - (world.now - world.began)), self._caller(root))

    @property
    def address(self) -> str:
        """Return the address of this process alone, for unblocks."""
        return f"poll://uni@{CALLERS}/{self.name}"

    @property
    def connected_credit(self) -> int:
        """The tasks that connected brokers may still send."""
        left = self.core.credit.left_of
        return sum(left(link.session) for link in self.links if link.session.connected)

    @property
    def idle(self) -> bool:
        """True if the process holds no task, runs nothing and awaits no reply."""
        return (
            self.alive
            and not self.core.activations
            and not self.unanswered
            and not (self.queue or self.stepping or self.results)
            and not any(link.has_unread for link in self.links)
            and self.told.issuperset(root.id for root in self.roots)
        )

    # The links -----------------------------------------------------------------------------------

    def hello(self, link: Link) -> Hello:
        claims = self.core.claims(self.is_at(link))
        self._claims[link] = dict(claims)
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="node" if self.group else "client",
            group=self.group or CALLERS,
            name=self.name,
            boot=str(self.epoch),
            os_pid=1,
            host="sim",
            sdk="sim",
            credit=self.core.new_session(link.session),
            claims=claims,
            functions=self._functions[0],
            versions=self._functions[1],
        )

    def is_busy(self) -> bool:
        return bool(self.core.activations or self._watches)

    def on_welcome(self, link: Link, welcome: Welcome, reconnected: bool) -> None:
        is_there, session = self.is_at(link), link.session
        followed = self._clock_link
        if followed is None or followed is link or not followed.session.connected:
            self._clock_link = link
            self._clock.synchronize(welcome.now, session.round_trip_ms)
            self.world.lag_ms = max(self.world.lag_ms, 1 + session.round_trip_ms // 2)
        claims = self._claims[link]
        lost = [(id_, claims[id_]) for id_ in welcome.lost if id_ in claims]
        self.core.connected(lost, reconnected, is_there)
        if self.group is not None:
            self.core.grant()
        watched = tuple(filter(is_there, sorted(self._watches)))
        if reconnected and watched:
            self._send_watch(watched)

    def on_disconnected(self, link: Link) -> None:
        self.core.disconnected(self.is_at(link))

    def on_gone(self, link: Link) -> None:
        self.core.credit.end_session(link.session)

    def minds_moves(self) -> bool:
        return self.group is not None or self.is_busy()

    def on_messages(self, link: Link, messages: list[ToPeer]) -> None:
        for message in messages:
            if isinstance(message, Settled):
                self._resolve(message.promises)
            elif isinstance(message, Unblock):
                link.session.send(Ack(message.promise.id, message.address))
                self._resolve([message.promise])
        self.core.receive(messages, self.now_ms, link.session)
        self.core.grant()
        self._wake_node()

    # The port of the node's core -----------------------------------------------------------------

    def cork(self) -> None:
        """Do nothing, because all requests of one event are sent together anyway."""

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
        """Give the next run to a thread, if one is free."""
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
        report = self.world.perform(self, run, self.now_ms)
        self.later(self.world.step_ms(), lambda: self._stepped(report))

    def _hand_out(self, run: Run, output: StepResult) -> None:
        """Pass on the commands that a long step has made so far."""
        self.results.append(StepReport(run, output, False))
        self.later(0, self._collect)

    def _stepped(self, report: StepReport) -> None:
        self.stepping -= 1
        if report.run.routine.dropped:
            report.run.routine.close()
        self.results.append(report)
        self.later(0, self._collect)
        self.later(0, self._step)

    def _collect(self) -> None:
        if not self.results:
            return
        results, self.results = self.results, []
        self.core.credit.policy.observe(len(results), 5.0 * len(results))
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
        """Handle SIGTERM: finish or hand back the tasks that are held, then leave."""
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
        for link in self.links:
            if link.connection is not None:
                link.session.send(Bye())
                link.flush()
        self.world.say(self.name, "leaves")
        self.alive = False
        self.epoch += 1
        for link in self.links:
            connection = link.end()
            if connection is not None:
                connection.bye()
        self.world.after(self.world.pick((1, 100)), self.start)

    def deploy(self, release: int, *, in_order: bool = True) -> None:
        """Replace the code by another release: the process ends, and the next one has it."""
        if self.release != release:
            self.world.say(self.name, "gets release", release)
            self.world.counts["deploys"] += 1
            self.release = release
            if in_order:
                self.drain()
            else:
                self.crash()

    def give_back(self) -> None:
        """Offer waiting runs to other nodes, because the running one blocks them for too long."""
        if self.alive and self.group is not None:
            self.core.credit.policy.observe_stuck(500.0)
            self.core.give_back()
            self.flush()

    # Calls from outside --------------------------------------------------------------------------

    def _caller(self, root: Root) -> Callable[[], None]:
        return lambda: self._call(root)

    def _call(self, root: Root) -> None:
        if self.draining:
            return
        data = self.env.values.encode_call(None, (root.program,), {})
        param = Value({HEADER_KIND: "rpc", HEADER_FUNCTION: "body"}, data)
        tags = {TAG_TARGET: root.group}
        timeout_at = self.now_ms + DAY_MS
        if root.mode == "run":
            group = self.group
            assert group is not None
            ttl = self.world.plan.lease_ttl_ms
            tags = {TAG_TARGET: group}
            pid = pid_of(self.name, str(self.epoch))
            command = TaskCreate(pid, ttl, root.id, timeout_at, param, tags)
            self.request(command, lambda answer: self._performs(root, pid, answer))
        else:
            create = PromiseCreate(root.id, timeout_at, param, tags)
            asked: AnyCommand = create
            if root.mode != "listen" and not _watches_apart(root):
                self._watches.add(root.id)
                asked = PromiseCreateWatched(create)
            self.request(asked, lambda answer: self._created(root, answer))
        if root.id not in self._watches and root.mode != "listen":
            self._watches.add(root.id)
            self._send_watch((root.id,))
        self.flush()

    def _created(self, root: Root, answer: Response | Refused) -> None:
        assert isinstance(answer, Response), answer
        assert answer.reply.ok, answer
        self.world.acknowledged(root.id)
        found = answer.reply.promise
        if found is not None and found.settled and root.mode != "listen":
            self._resolve([found])
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
                # This happens only if frames were swapped, because the create was sent first.
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
        """Send a request of a person at this host."""
        self.request(command, on_reply)
        self.flush()


def _watches_apart(root: Root) -> bool:
    """Return whether a call watches by a separate request, as an attach does; half of them do."""
    return crc32(root.id.encode()) % 2 == 0


__all__ = ["CALLERS", "PeerHost"]
