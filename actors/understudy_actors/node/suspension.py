"""Activations with nothing to run: how long they linger, and how they are suspended. Pure."""

from __future__ import annotations

from understudy_actors.activation import Activation, Phase
from understudy_actors.node import fences
from understudy_actors.node.fencing import Fencing
from understudy_broker.protocol.messages import (
    PromiseWatch,
    Refused,
    Response,
)
from understudy_store.commands import (
    TaskSuspend,
)


class Suspension(Fencing):
    """Linger, suspend, retry."""

    def _settle_phase(self, activation: Activation) -> None:
        """An activation with nothing to run waits; its credit is free for another."""
        if activation.busy or activation.phase is not Phase.RUNNING:
            return
        if any(r.routine.paused for r in activation.runs.values()):
            return
        self._leave_running(activation)
        activation.phase = Phase.WAITING
        activation.waiting_since = self._now
        self._lingering.append((self._now + self.config.linger_ms, activation))

    def next_due(self) -> int | None:
        """When `tick` has something to do, epoch milliseconds."""
        due = [self._lingering[0][0]] if self._lingering else []
        due += [at for at, _ in self._retries]
        return min(due) if due else None

    def tick(self, now: int) -> None:
        """Suspend what has lingered, retry what is due."""
        self._now = now
        while self._lingering and self._lingering[0][0] <= now:
            _, activation = self._lingering.popleft()
            waited_ms = now - activation.waiting_since
            if activation.phase is Phase.WAITING and waited_ms >= self.config.linger_ms:
                self._suspend(activation)
        due = [run for at, run in self._retries if at <= now]
        if due:
            self._retries = [(at, run) for at, run in self._retries if at > now]
            for run in due:
                run.activation.busy -= 1
                if self.activations.get(run.activation.id) is run.activation:
                    run.scheduled = False
                    self._schedule(run)

    def _suspend(self, activation: Activation) -> None:
        if activation.fences_open:
            # what the store answers may wake it; a lease given up now would miss that
            self._lingering.append((self._now + max(1, self.config.linger_ms), activation))
            return
        awaited = activation.wake_on()
        if not awaited:
            return
        activation.phase = Phase.SUSPENDING

        def on_reply(answer: Response | Refused) -> None:
            self._suspended(activation, awaited, answer)

        self.broker.request(
            TaskSuspend(activation.id, activation.version, tuple(awaited)), on_reply
        )

    def _suspended(
        self, activation: Activation, awaited: list[str], answer: Response | Refused
    ) -> None:
        if self.activations.get(activation.id) is not activation:
            return
        if isinstance(answer, Refused) or answer.reply.status == 409:
            self._refused(activation, answer)
            return
        status = answer.reply.status
        if status == 200:
            activation.phase = Phase.SUSPENDED
            self._warm[activation.id] = None
            while len(self._warm) > self.config.warm_max:
                oldest, _ = self._warm.popitem(last=False)
                self._drop(self.activations.get(oldest))
            return
        activation.phase = Phase.RUNNING
        self._running += 1
        for record in answer.reply.promises or ():
            for run in activation.runs.values():
                run.routine.learn(record)
        if status >= 400:
            self._probe(activation, awaited)
        for run in list(activation.runs.values()):
            if run.routine.inbox:
                self._schedule(run)
        self._settle_phase(activation)

    def _probe(self, activation: Activation, awaited: list[str]) -> None:
        """A suspend was refused: some promise cannot be waited for. Find which, and say so."""
        for id in awaited:

            def on_reply(answer: Response | Refused, id: str = id) -> None:
                absent = isinstance(answer, Response) and answer.reply.status == 404
                record = fences.missing(id, self.env.values) if absent else None
                if isinstance(answer, Response) and answer.reply.promises:
                    record = answer.reply.promises[0]
                runs = list(activation.runs.values())
                if record is None:
                    # pending, and another run's own step: whoever waits hears of it from here on
                    self._strangers.setdefault(id, []).extend(runs)
                    return
                for run in runs:
                    self._tell(run, record)

            self.broker.request(PromiseWatch((id,)), on_reply)
