"""A broker, nodes and time in one process, deterministic: what a stage and its crashes stand on.

Everything that can happen is one of four moves, tried in this order: a frame reaches the broker, a
frame reaches a peer, a function runs until it must wait, something is due. So the same programs
make the same moves each time. Time stands still unless it is told to go on.

A frame that changes the store is a *checkpoint* of the node that sends it, and so is the moment in
which a node is handed a task. `kills` says at which checkpoints the node dies, and how.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from understudy.client.node_environment import NodeEnvironment
from understudy.testing.components import Broker, Node, Peer
from understudy.testing.describe import handed_over, written
from understudy.testing.inline import InlineExecutor
from understudy_actors.activation import StepReport
from understudy_actors.interpreter.routine import Routine
from understudy_broker.protocol.messages import Invoke, Resume

#: 2030-01-01 00:00 UTC: the same in every run
START_MS: Final = 1_893_456_000_000
#: what is due later than that after now (17 years) never is
_FAR_MS: Final = 1 << 39


class Moment(Enum):
    """How a node dies at a checkpoint."""

    #: what it wanted to say is lost with it
    BEFORE_SEND = "before the send"
    #: it has said it, and is dead before the broker has done it
    BEFORE_ACKNOWLEDGEMENT = "before the acknowledgement"
    #: the broker has stored it, and the node is dead before it hears so
    AFTER_COMMIT = "after the commit"
    #: it was given a task, and has not begun
    HANDED_OVER = "when it was handed a task"


class Checkpoint(NamedTuple):
    """A place where a node may die: its number from 1, what it was about, how it may die there."""

    number: int
    what: str
    moments: tuple[Moment, ...]


class Execution(NamedTuple):
    """A function was begun."""

    routine: Routine
    #: of the node, in the order of births
    node: int

    @property
    def id(self) -> str:
        return self.routine.id


class Killed(NamedTuple):
    """A node died: at which checkpoint, after how many executions, with what stored."""

    checkpoint: Checkpoint
    moment: Moment
    executions: int
    #: ids of executions until then whose result is stored
    stored: frozenset[str]


class Simulator:
    """Everything but user code. All methods want `lock` held.

    Parameters
    ----------
    kills
        Checkpoint number to the way of dying there.
    log
        Gets the lines that a node would log.
    """

    def __init__(
        self,
        *,
        kills: Mapping[int, Moment] | None = None,
        start_ms: int = START_MS,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.now = start_ms
        self.kills = dict(kills or {})
        self.log = log
        self.lock = threading.Condition(threading.Lock())
        self.broker = Broker(self.now_ms)
        self.peers: list[Peer] = []
        #: what has happened
        self.checkpoints: list[Checkpoint] = []
        self.executions: list[Execution] = []
        self.killed: list[Killed] = []
        #: kept until the end, so that no clean-up of theirs runs: a killed process does none
        self.dead: list[Node] = []
        self._born = 0
        self._begun: set[int] = set()
        #: threads inside a function, and threads that turn this world meanwhile
        self.inside: list[int] = []
        self.turning: list[int] = []
        #: threads of the loops of ``async def`` functions
        self.loops: set[int] = set()
        #: done when somebody on an event loop need not wait any more
        self.wanted: list[Callable[[], bool]] = []

    def now_ms(self) -> int:
        return self.now

    # Who is there --------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[Node]:
        return [peer for peer in self.peers if isinstance(peer, Node)]

    def add_node(self, env: NodeEnvironment, name: str) -> Node:
        """A process of the group of `env`."""
        self._born += 1
        born = self._born

        def stepped(report: StepReport) -> None:
            if not node.dead:
                node.stepped(report)

        executor = InlineExecutor(
            self.lock, self.inside, self.loops, self.now_ms, stepped, self._go_on
        )
        node = Node(self.broker, self.now_ms, env, name, born, executor, self.log)
        self.peers.append(node)
        node.start()
        return node

    def add_client(self, group: str, name: str) -> Peer:
        """A process that only asks."""
        client = Peer(self.broker, self.now_ms, group, name)
        self.peers.append(client)
        client.connect()
        return client

    def kill(self, node: Node) -> None:
        """SIGKILL: nothing of it goes on, no clean-up runs, the broker hears of it at once."""
        node.dead = True
        self.peers.remove(node)
        self.dead.append(node)
        self.broker.leave(node)

    # Moves ---------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Make one move; False: nothing can happen before time goes on."""
        for peer in self.peers:
            if peer.outbox:
                self._deliver_out(peer)
                return True
        for peer in self.peers:
            if peer.inbox:
                self._deliver_in(peer)
                return True
        for node in self.nodes:
            if node.executor.queue:
                self._note(node.executor.queue[0].routine, int(node.boot))
                node.executor.run_next()
                return True
        for node in self.nodes:
            if node.tick():
                return True
        due = self.broker.next_due()
        if due is not None and due <= self.now:
            self.broker.turn()
            return True
        return False

    def exchange(self, peer: Peer) -> None:
        """Only what `peer` has to say and to hear; no function runs."""
        while peer.outbox or peer.inbox:
            if peer.outbox:
                self._deliver_out(peer)
            else:
                peer.take_in()

    def next_due(self) -> int | None:
        """When something happens by itself; None: never."""
        times = [self.broker.next_due(), *(node.core.next_due() for node in self.nodes)]
        return min((at for at in times if at is not None and at < self.now + _FAR_MS), default=None)

    def occupied(self) -> bool:
        """Whether a function runs in another thread that may yet go on by itself."""
        return any(thread not in self.turning for thread in self.inside)

    def _go_on(self) -> bool:
        """A coroutine is waited for: go on with the rest if it waits for that itself."""
        self.wanted = [done for done in self.wanted if not done()]
        if not self.wanted:
            return False
        if self.turn():
            return True
        due = self.next_due()
        coroutines = sum(thread in self.loops for thread in self.inside)
        if due is None or len(self.wanted) < coroutines:
            # one of them awaits something of its own: no time passes meanwhile
            return False
        self.now = max(self.now, due)
        return True

    def _deliver_out(self, peer: Peer) -> None:
        frame = peer.outbox.popleft()
        if not isinstance(peer, Node):
            self.broker.receive(peer, frame)
            self.broker.turn()
            return
        what = written(frame, self.broker.find)
        if what is None:
            self.broker.receive(peer, frame)
            self.broker.turn()
            return
        checkpoint, moment = self._pass_checkpoint(what, _WRITING)
        if moment is Moment.BEFORE_SEND:
            self.kill(peer)
            self.broker.turn()
        else:
            self.broker.receive(peer, frame)
            if moment is Moment.BEFORE_ACKNOWLEDGEMENT:
                self.kill(peer)
            self.broker.turn()
            if moment is Moment.AFTER_COMMIT:
                self.kill(peer)
                self.broker.turn()
        if moment is not None:
            self._replace(peer, checkpoint, moment)

    def _deliver_in(self, peer: Peer) -> None:
        given = [m for m in peer.inbox[0] if isinstance(m, (Invoke, Resume))]
        if given and isinstance(peer, Node):
            checkpoint, moment = self._pass_checkpoint(handed_over(given), (Moment.HANDED_OVER,))
            if moment is not None:
                self.kill(peer)
                self.broker.turn()
                self._replace(peer, checkpoint, moment)
                return
        peer.take_in()

    def _pass_checkpoint(
        self, what: str, moments: tuple[Moment, ...]
    ) -> tuple[Checkpoint, Moment | None]:
        checkpoint = Checkpoint(len(self.checkpoints) + 1, what, moments)
        self.checkpoints.append(checkpoint)
        return checkpoint, self.kills.get(checkpoint.number)

    def _replace(self, dead: Node, checkpoint: Checkpoint, moment: Moment) -> None:
        begun = {execution.id for execution in self.executions}
        stored = frozenset(self.broker.settled(begun))
        self.killed.append(Killed(checkpoint, moment, len(self.executions), stored))
        self.add_node(dead.env, dead.name)

    def _note(self, routine: Routine, node: int) -> None:
        """Remember that a function was begun; the reference keeps its identity from reuse."""
        if id(routine) not in self._begun and not routine.dropped:
            self._begun.add(id(routine))
            self.executions.append(Execution(routine, node))

    # The end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of all functions that still wait. The lock must be free."""
        for node in (*self.nodes, *self.dead):
            node.executor.stop()
            for activation in node.core.activations.values():
                for run in activation.runs.values():
                    run.routine.close()
        self.peers.clear()
        self.dead.clear()


_WRITING: Final = (Moment.BEFORE_SEND, Moment.BEFORE_ACKNOWLEDGEMENT, Moment.AFTER_COMMIT)
