"""A simulator of broker, nodes and time in one process: the ground of stages and crash tests.

How it works
------------
All that can happen is one of four *moves*, which are tried in this order: a frame reaches the
broker, a frame reaches a peer, a function runs until it must wait, something is due. Moves of one
kind are tried peer by peer, in the order in which the peers were added. Nothing else decides what
comes next, so the same program makes the same moves each time. Time stands still while there is a
move to make; `Driver` moves the clock when there is none.

A frame that writes to the store is a *checkpoint* of the node that sends it, and so is a frame that
hands tasks to a node. At a checkpoint a node can be killed, in one of several moments (`Moment`);
`kills` says where and in which. Another node of the same name takes its place at once.

What is not perfect
-------------------
The order is one of many that production has. A function that depends on another order is not
caught, unless a crash brings it about. ``async def`` functions run on a loop in a thread, so what
they do beside awaiting ``ctx`` is as deterministic as their own code makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from understudy.client.node_environment import NodeEnvironment
from understudy.testing.components import Broker, Node, Peer
from understudy.testing.descriptions import describe_tasks, describe_writes
from understudy.testing.executor import SimulatedExecutor
from understudy.testing.threads import SimulationThreads
from understudy_actors.activation import StepReport
from understudy_actors.interpreter.routine import Routine
from understudy_broker.protocol.messages import Invoke, Resume

#: 2030-01-01 00:00 UTC: each run starts at the same time, so that ids and results repeat.
START_MS: Final = 1_893_456_000_000
#: A time that is further ahead than this (17 years) means "never".
_FAR_MS: Final = 1 << 39


class Moment(Enum):
    """The moment of a checkpoint in which a node is killed."""

    #: The node dies before it sends the frame, so what it wanted to write is lost.
    BEFORE_SEND = "before the send"
    #: The node has sent the frame, and dies before the broker has processed it.
    BEFORE_ACKNOWLEDGEMENT = "before the acknowledgement"
    #: The broker has committed the frame, and the node dies before it receives the reply.
    AFTER_COMMIT = "after the commit"
    #: The node has been handed a task, and dies before it has run it.
    HANDED_OVER = "when it was handed a task"


_MOMENTS_OF_WRITE: Final = (
    Moment.BEFORE_SEND,
    Moment.BEFORE_ACKNOWLEDGEMENT,
    Moment.AFTER_COMMIT,
)


class Checkpoint(NamedTuple):
    """A place where a node can be killed.

    Attributes
    ----------
    number
        From 1, in the order of the run.
    description
        What happens there, in words: ``the result of charge order-7.2``.
    moments
        The moments in which the node can be killed there.
    """

    number: int
    description: str
    moments: tuple[Moment, ...]


class Execution(NamedTuple):
    """The start of a function.

    Attributes
    ----------
    routine
        The instance that runs it.
    node
        The number of the node, in the order in which nodes started.
    """

    routine: Routine
    node: int

    @property
    def id(self) -> str:
        """The id of the call that it performs."""
        return self.routine.id


class Kill(NamedTuple):
    """The death of a node.

    Attributes
    ----------
    executions
        The number of executions until then.
    stored
        Ids of those executions whose results were stored at that time.
    """

    checkpoint: Checkpoint
    moment: Moment
    executions: int
    stored: frozenset[str]


class Simulator:
    """A broker, its peers and the time. All methods but `close` want the lock of `threads` held.

    Parameters
    ----------
    kills
        The moment in which a node is killed, by the number of the checkpoint.
    start_ms
        The time at the start, in epoch milliseconds.
    log
        Gets the lines that a node would log; None discards them.
    """

    def __init__(
        self,
        *,
        kills: Mapping[int, Moment] | None = None,
        start_ms: int = START_MS,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.now = start_ms
        self.threads = SimulationThreads()
        self.broker = Broker(self.now_ms)
        self.peers: list[Peer] = []
        # The record of the run.
        self.checkpoints: list[Checkpoint] = []
        self.executions: list[Execution] = []
        self.killed: list[Kill] = []
        #: Conditions for which a coroutine of a function waits; see `_help_coroutine`.
        self.awaited: list[Callable[[], bool]] = []
        self._kills = dict(kills or {})
        self._log = log
        # Dead nodes are kept until the end, because their routines would otherwise be collected
        # and run their ``finally`` blocks, which a killed process does not.
        self._dead: list[Node] = []
        self._nodes_started = 0
        self._seen_routines: set[int] = set()

    def now_ms(self) -> int:
        """Return the time, in epoch milliseconds."""
        return self.now

    # Peers ---------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are alive, in the order in which they were added."""
        return [peer for peer in self.peers if isinstance(peer, Node)]

    def add_node(self, env: NodeEnvironment, name: str) -> Node:
        """Add a node to the group of `env`."""
        self._nodes_started += 1
        boot = self._nodes_started
        env.node = name

        def on_stepped(report: StepReport) -> None:
            if not node.dead:
                node.on_stepped(report)

        executor = SimulatedExecutor(self.threads, self.now_ms, on_stepped, self._help_coroutine)
        node = Node(self.broker, self.now_ms, env, name, boot, executor, self._log)
        self.peers.append(node)
        node.start()
        return node

    def add_client(self, group: str, name: str) -> Peer:
        """Add a peer that only calls."""
        client = Peer(self.broker, self.now_ms, group, name)
        self.peers.append(client)
        client.connect()
        return client

    def announce(self, env: NodeEnvironment) -> None:
        """Tell the broker of functions that were registered since a node started."""
        for node in self.nodes:
            if node.env is env:
                node.announce()

    def kill(self, node: Node) -> None:
        """Kill a node as SIGKILL would: it runs no cleanup, and the broker notices at once."""
        node.dead = True
        self.peers.remove(node)
        self._dead.append(node)
        self.broker.disconnect(node)

    # Moves ---------------------------------------------------------------------------------------

    def move(self) -> bool:
        """Make one move; return False if nothing can happen before time goes on."""
        for peer in self.peers:
            if peer.outbox:
                self._deliver_to_broker(peer)
                return True
        for peer in self.peers:
            if peer.inbox:
                self._deliver_to_peer(peer)
                return True
        for node in self.nodes:
            if node.executor.queue:
                self._record_execution(node.executor.queue[0].routine, int(node.boot))
                node.executor.run_next()
                return True
        for node in self.nodes:
            if node.tick():
                return True
        due = self.broker.next_due()
        if due is not None and due <= self.now:
            self.broker.run()
            return True
        return False

    def exchange(self, peer: Peer) -> None:
        """Deliver the frames from and to one peer, without running a function."""
        while peer.outbox or peer.inbox:
            if peer.outbox:
                self._deliver_to_broker(peer)
            else:
                peer.receive_next()

    def next_due(self) -> int | None:
        """Return when something is due, in epoch milliseconds; None if nothing ever is."""
        times = [self.broker.next_due(), *(node.core.next_due() for node in self.nodes)]
        return min((at for at in times if at is not None and at < self.now + _FAR_MS), default=None)

    def _help_coroutine(self) -> bool:
        """Make a move while a coroutine runs, if it waits for something that only moves bring.

        A function may itself await a call on the runtime (`awaited`). If every coroutine under way
        does so, time may pass as well; otherwise one of them awaits something of its own, for
        which the simulated time must stand still.
        """
        self.awaited = [done for done in self.awaited if not done()]
        if not self.awaited:
            return False
        if self.move():
            return True
        due = self.next_due()
        if due is None or len(self.awaited) < self.threads.coroutine_count():
            return False
        self.now = max(self.now, due)
        return True

    def _deliver_to_broker(self, peer: Peer) -> None:
        frame = peer.outbox.popleft()
        description = describe_writes(frame, self.broker.find) if isinstance(peer, Node) else None
        if description is None:
            self.broker.receive(peer, frame)
            self.broker.run()
            return
        assert isinstance(peer, Node)
        checkpoint, moment = self._pass_checkpoint(description, _MOMENTS_OF_WRITE)
        if moment is Moment.BEFORE_SEND:
            self.kill(peer)
            self.broker.run()
        else:
            self.broker.receive(peer, frame)
            if moment is Moment.BEFORE_ACKNOWLEDGEMENT:
                self.kill(peer)
            self.broker.run()
            if moment is Moment.AFTER_COMMIT:
                self.kill(peer)
                self.broker.run()
        if moment is not None:
            self._replace(peer, checkpoint, moment)

    def _deliver_to_peer(self, peer: Peer) -> None:
        tasks = [m for m in peer.inbox[0] if isinstance(m, (Invoke, Resume))]
        if tasks and isinstance(peer, Node):
            checkpoint, moment = self._pass_checkpoint(describe_tasks(tasks), (Moment.HANDED_OVER,))
            if moment is not None:
                self.kill(peer)
                self.broker.run()
                self._replace(peer, checkpoint, moment)
                return
        peer.receive_next()

    def _pass_checkpoint(
        self, description: str, moments: tuple[Moment, ...]
    ) -> tuple[Checkpoint, Moment | None]:
        checkpoint = Checkpoint(len(self.checkpoints) + 1, description, moments)
        self.checkpoints.append(checkpoint)
        return checkpoint, self._kills.get(checkpoint.number)

    def _replace(self, dead: Node, checkpoint: Checkpoint, moment: Moment) -> None:
        ids = {execution.id for execution in self.executions}
        stored = frozenset(self.broker.settled(ids))
        self.killed.append(Kill(checkpoint, moment, len(self.executions), stored))
        self.add_node(dead.env, dead.name)

    def _record_execution(self, routine: Routine, node: int) -> None:
        """Record the first step of a routine.

        Routines are told apart by identity. The record refers to them, so no identity is reused.
        """
        if id(routine) not in self._seen_routines and not routine.dropped:
            self._seen_routines.add(id(routine))
            self.executions.append(Execution(routine, node))

    # End -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all functions that still wait. The lock must be free."""
        for node in (*self.nodes, *self._dead):
            node.executor.stop()
            for activation in node.core.activations.values():
                for run in activation.runs.values():
                    run.routine.is_over = True
                    run.routine.close()
        self.peers.clear()
        self._dead.clear()
