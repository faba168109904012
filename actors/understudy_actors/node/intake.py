"""The ways by which a task comes into a node's hands: invoke, resume, and a preload on request."""

from __future__ import annotations

from functools import partial

from understudy_actors.activation import Activation, Phase
from understudy_actors.interpreter.routine import Routine
from understudy_actors.node.fencing import Fencing
from understudy_actors.node.ports import BrokerPort
from understudy_actors.node.settlements import Settlements
from understudy_actors.node.state import NodeState
from understudy_actors.node.suspension import Suspension
from understudy_broker.protocol.messages import Refused, Response, Resume
from understudy_store.commands import TaskPreload
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_RETRY,
    HEADER_VERSION,
    PromiseRecord,
)


class Intake:
    """Makes activations of tasks, and goes on with those that are still in memory."""

    def __init__(
        self,
        state: NodeState,
        link: BrokerPort,
        fencing: Fencing,
        suspension: Suspension,
        settlements: Settlements,
    ) -> None:
        self._state = state
        self._link = link
        self._fencing = fencing
        self._suspension = suspension
        self._settlements = settlements

    def begin(
        self,
        promise: PromiseRecord,
        version: int,
        preload: list[PromiseRecord],
        failures: int = 0,
    ) -> None:
        """Run a task's function from its first line, unless this version is held already.

        Parameters
        ----------
        preload
            Promises that the task has made under earlier versions.
        failures
            Attempts that have failed.
        """
        state = self._state
        old = state.activations.get(promise.id)
        if old is not None:
            if old.version >= version:
                return
            state.drop(old)
        activation = Activation(promise, version)
        if preload:
            activation.load(preload)
            state.replays += 1
            state.replayed_steps += sum(1 for each in preload if each.settled)
        state.add(activation)
        env, headers = state.env, promise.param.headers
        try:
            function = env.functions.get(
                headers.get(HEADER_FUNCTION, ""), int(headers.get(HEADER_VERSION, 0)) or None
            )
            policy = headers.get(HEADER_RETRY)
            retry = None if policy is None else env.values.retry_policy(policy)
        except Exception as error:
            # Another node, or a later start of this one, may know the function.
            self._fencing.park(activation, f"{type(error).__name__}: {error}")
            return
        attempt = failures + 1
        trace = env.tracing.attempt(promise, function, version, attempt, len(preload))
        routine = Routine(
            env,
            function,
            promise,
            origin=activation.origin,
            branch=activation.id,
            data=promise.param.data,
            attempt=attempt,
            history=activation.take_history(activation.id) if preload else None,
            retry=retry,
            trace=trace,
        )
        activation.root = state.add_run(activation, routine, None)

    def resume(self, message: Resume) -> None:
        """Go on with a task that was handed out before, from memory or from its history."""
        promise, version = message.promise, message.version
        activation = self._state.activations.get(promise.id)
        if message.preload is not None:
            self.begin(promise, version, message.preload, message.failures)
        elif activation is not None and activation.phase is Phase.SUSPENDED:
            self._state.warm.pop(activation.id, None)
            self._state.warm_resumes += 1
            activation.version = version
            activation.began_ms = self._state.now_ms
            for run in activation.runs.values():
                if run.routine.trace is not None:
                    run.routine.trace.resumed(version)
            self._state.resume(activation)
            self._suspension.wait_if_idle(activation)
        else:
            # The broker took this node for warm, but the activation is gone from memory.
            self.request_preload(promise, version, message.failures)

    def request_preload(self, promise: PromiseRecord, version: int, failures: int) -> None:
        """Ask for the history of a task that this node has the lease of, then begin it."""
        self._link.request(
            TaskPreload(promise.id, version),
            partial(self._on_preload, promise, version, failures),
        )

    def _on_preload(
        self, promise: PromiseRecord, version: int, failures: int, answer: Response | Refused
    ) -> None:
        if isinstance(answer, Response) and answer.reply.ok:
            self.begin(promise, version, answer.reply.promises or [], failures)
            return
        old = self._state.activations.get(promise.id)
        if old is not None and old.version >= version:
            return
        # If the lease was lost meanwhile, the task is let go. Anything else ends it, because the
        # lease is this node's and nobody else ever would.
        self._state.drop(old)
        activation = Activation(promise, version)
        self._state.add(activation)
        self._fencing.on_refused(activation, answer)

    def catch_up(self, activation: Activation) -> None:
        """Ask, after a reconnect, which promises of an activation have settled meanwhile."""
        self._link.request(TaskPreload(activation.id, activation.version), self._on_caught_up)

    def _on_caught_up(self, answer: Response | Refused) -> None:
        if isinstance(answer, Response) and answer.reply.promises:
            self._settlements.catch_up(answer.reply.promises)
