"""News of settled promises, passed to the runs that wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from understudy_actors.activation import LEASED, Activation, Run
from understudy_actors.interpreter.signals import cancel
from understudy_actors.node import fence_replies
from understudy_actors.node.ports import BrokerPort, OnReply
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import PromiseWatch, Refused, Response
from understudy_store.records import TAG_BRANCH, PromiseRecord

#: Returns whether the promise of an id is at a broker.
IsThere: TypeAlias = Callable[[str], bool]


def everything(_: str) -> bool:
    """Return True: every promise is at the one broker."""
    return True


class Settlements:
    """Passes each settled promise to the runs that wait for it.

    The broker tells the holder of a task, unasked, when a promise settles that the task has made.
    Promises that another function made (awaited by an id of the user's own), and those in another
    slot than the task, must be watched.
    """

    def __init__(self, state: NodeState, link: BrokerPort) -> None:
        self._state = state
        self._link = link
        #: runs that wait for promises that must be watched, by the promise's id
        self._foreign: dict[str, list[Run]] = {}

    def learn(self, record: PromiseRecord) -> None:
        """Wake the runs that wait for a promise that has settled."""
        if self._foreign:
            for run in self._foreign.pop(record.id, ()):
                self.tell(run, record)
        activation = self._state.activations.get(record.tags.get(TAG_BRANCH, ""))
        if activation is not None:
            step = activation.runs.get(record.id)
            if step is not None and not step.done:
                # It was canceled, or its deadline has passed; the task itself goes on.
                cancel(step.routine)
            owner = activation.run_of(record)
            if owner is not None:
                self.tell(owner, record)

    def tell(self, run: Run, record: PromiseRecord) -> None:
        """Put a settlement into a run's inbox and, if this node may go on with it, wake it."""
        if run.done or run.routine.dropped:
            return
        run.routine.learn(record)
        activation = run.activation
        if activation.phase in LEASED and not run.scheduled:
            self._state.wake(activation)
            self._state.schedule(run)

    def watch_for(self, run: Run, ids: Sequence[str]) -> None:
        """Wake a run when promises settle of which the broker would not tell unasked."""
        for id in ids:
            self._foreign.setdefault(id, []).append(run)
        self._watch(ids)

    def watch_again(self, is_there: IsThere = everything) -> None:
        """Repeat the watches at a broker, which forgets them with the session."""
        for id in self._foreign:
            if is_there(id):
                self._watch((id,))

    def catch_up(self, promises: Iterable[PromiseRecord]) -> None:
        """Learn of those among some promises that have settled."""
        for record in promises:
            if record.settled:
                self.learn(record)

    def explain_refusal(self, activation: Activation, awaited: list[str]) -> None:
        """Find which promise cannot be waited for, after a suspend was refused, and say so.

        Each promise is watched on its own. One that does not exist becomes a failed promise, so
        that the function that waits for it gets an error.
        """
        for id in awaited:
            self._link.request(PromiseWatch((id,)), self._explainer(activation, id))

    def _explainer(self, activation: Activation, id: str) -> OnReply:
        def on_reply(answer: Response | Refused) -> None:
            record = None
            if isinstance(answer, Response):
                if answer.reply.status in (404, 410):
                    record = fence_replies.missing(id, self._state.env.values)
                if answer.reply.promises:
                    record = answer.reply.promises[0]
            runs = list(activation.runs.values())
            if record is None:
                # It is pending, and a step of another run; it is watched from here on.
                self._foreign.setdefault(id, []).extend(runs)
                return
            for run in runs:
                self.tell(run, record)

        return on_reply

    def _watch(self, ids: Sequence[str]) -> None:
        def on_reply(answer: Response | Refused) -> None:
            if isinstance(answer, Response) and answer.reply.ok:
                for record in answer.reply.promises or ():
                    self.learn(record)
            elif len(ids) > 1:
                # Together they may be too large for a reply.
                for id in ids:
                    self._watch((id,))

        self._link.request(PromiseWatch(tuple(ids)), on_reply)
