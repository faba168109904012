"""Activations with nothing to run: they linger, and then their task is suspended."""

from __future__ import annotations

from functools import partial
from typing import Final

from understudy_actors.activation import Activation, Phase
from understudy_actors.node.fencing import Fencing, ignore_reply
from understudy_actors.node.ports import BrokerPort
from understudy_actors.node.settlements import Settlements
from understudy_actors.node.state import NodeState
from understudy_actors.node.timers import Timers
from understudy_broker.protocol.messages import Refused, Response
from understudy_store.commands import TaskRelease, TaskSuspend

#: Milliseconds after which a call goes on that was given back because too many are held.
CROWDED_MS: Final = 2000


class Suspension:
    """Moves waiting activations out of the lease, and back if something settled meanwhile."""

    def __init__(
        self,
        state: NodeState,
        link: BrokerPort,
        timers: Timers,
        fencing: Fencing,
        settlements: Settlements,
    ) -> None:
        self._state = state
        self._link = link
        self._fencing = fencing
        self._settlements = settlements
        self._timers = timers

    def wait_if_idle(self, activation: Activation) -> None:
        """Let an activation with nothing to run wait, so that its credit is free for another."""
        if activation.busy or activation.phase is not Phase.RUNNING:
            return
        state = self._state
        tasks_wait = False
        for run in activation.runs.values():
            if run.routine.paused:
                return
            tasks_wait = tasks_wait or run.waits
        if tasks_wait:
            if not state.hold(activation):
                self._give_back(activation)
            return
        state.leave_running(activation, Phase.WAITING)
        activation.waiting_since_ms = state.now_ms
        self._timers.add(state.config.linger_ms, partial(self._on_lingered, activation))

    def _give_back(self, activation: Activation) -> None:
        """Give an activation back that can be neither held nor suspended; it goes on later.

        If it used credit while it waits, nothing might be left for what it waits for.
        """
        self._fencing.send()
        release = TaskRelease(activation.id, activation.version, CROWDED_MS)
        self._link.request(release, ignore_reply)
        self._state.drop(activation)

    def _on_lingered(self, activation: Activation) -> None:
        waited_ms = self._state.now_ms - activation.waiting_since_ms
        # It may have run since, and wait anew with a timer of its own.
        if activation.phase is Phase.WAITING and waited_ms >= self._state.config.linger_ms:
            self.suspend(activation)

    def suspend(self, activation: Activation) -> None:
        """Give up the lease of a waiting activation; the store notes what it waits for."""
        state = self._state
        if activation.requests_open:
            # The answer to a fence may wake it, and would come too late after the suspend; and a
            # cancel elsewhere may not have been performed.
            linger_ms = max(1, state.config.linger_ms)
            self._timers.add(linger_ms, partial(self._on_lingered, activation))
            return
        awaited = activation.wake_on()
        if not awaited:
            return
        activation.phase = Phase.SUSPENDING
        self._link.request(
            TaskSuspend(activation.id, activation.version, tuple(awaited)),
            partial(self._on_suspended, activation, awaited),
        )

    def _on_suspended(
        self, activation: Activation, awaited: list[str], answer: Response | Refused
    ) -> None:
        if activation.dropped:
            return
        if isinstance(answer, Refused) or answer.reply.status == 409:
            self._fencing.on_refused(activation, answer)
            return
        reply = answer.reply
        if reply.status == 200:
            for run in activation.runs.values():
                if run.routine.trace is not None:
                    run.routine.trace.suspended(awaited)
            self._state.keep_warm(activation)
            return
        for record in reply.promises or ():
            for run in activation.runs.values():
                run.routine.learn(record)
        if reply.status >= 400:
            self._settlements.explain_refusal(activation, awaited)
        self._state.resume(activation)
        self.wait_if_idle(activation)
