"""Debug operations, for test suites of the protocol only: a fresh store, a clock that can be set.

An edge that is started with ``--debug`` has no broker. It serves from a machine in its own memory
(`own_store`), and everything is gone when it ends. While ``debug.start`` holds, nothing happens by
itself: deadlines, leases, retries and schedules wait for ``debug.tick``, and messages are kept.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import trio

from understudy.edge.resonate.envelope import Answer, Envelope, Refusal, echo, parse
from understudy.edge.resonate.operations import Terms, plan_of
from understudy.edge.resonate.own_store import OwnStore
from understudy.edge.resonate.streams import Streams
from understudy_store.addresses import parse_target, scheme_of

#: how often what is due is done, and messages are sent, while no ``debug.start`` holds
_PERIOD_S: Final = 0.05


class _Tick(msgspec.Struct):
    time: int


class DebugPerformer:
    """Performs requests at a store of its own.

    Parameters
    ----------
    strict
        As in `Terms`.
    server_url
        The address of this edge, for messages.
    """

    def __init__(self, *, strict: bool, server_url: str) -> None:
        self._strict = strict
        self._server_url = server_url
        self._store = OwnStore()
        self._is_held = False
        self.streams = Streams(_do_nothing, _do_nothing)

    async def __call__(self, body: bytes) -> tuple[str, str, Answer]:
        """Return kind and correlation id of a request, and its answer."""
        return self.perform(body, _now())

    def perform(self, body: bytes, now: int) -> tuple[str, str, Answer]:
        """Perform a request at a time, unless that says another one."""
        try:
            envelope = parse(body)
        except Refusal as refusal:
            return *echo(body), Answer(refusal.status, refusal.message)
        if envelope.debug_time is not None:
            now = envelope.debug_time
        try:
            answer = self._answer(envelope, now)
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.message)
        return envelope.kind, envelope.corr_id, answer

    def _answer(self, envelope: Envelope, now: int) -> Answer:
        if envelope.kind.startswith("debug."):
            return self._debug(envelope, now)
        plan = plan_of(envelope.kind, envelope.data, Terms(self._strict, envelope.corr_id))
        try:
            commands = next(plan)
            while True:
                commands = plan.send(self._store.ask_all(commands, now))
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    def _debug(self, envelope: Envelope, now: int) -> Answer:
        result: Any = {}
        match envelope.kind:
            case "debug.start":
                self._is_held = True
            case "debug.stop":
                self._is_held = False
            case "debug.reset":
                self._store.reset()
            case "debug.tick":
                self._store.sweep(self._time_of_tick(envelope))
                result = []
            case "debug.snap":
                result = self._store.dump(now, self._server_url)
            case _:
                raise Refusal(400, f"Unknown operation: {envelope.kind}")
        return Answer(200, result)

    def _time_of_tick(self, envelope: Envelope) -> int:
        try:
            at = msgspec.json.decode(envelope.data, type=_Tick).time
        except msgspec.DecodeError as error:
            raise Refusal(400, f"Invalid request: {error}") from None
        if self._strict and envelope.debug_time not in (None, at):
            raise Refusal(400, "time and resonate:debug_time differ")
        return at

    # By itself -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do what is due, and send messages, until canceled."""
        while True:
            if not self._is_held:
                self._store.sweep(_now())
                self._deliver()
            await trio.sleep(_PERIOD_S)

    def _deliver(self) -> None:
        executes, unblocks = self._store.take_messages()
        for execute in executes:
            if scheme_of(execute.target) == "poll":
                target = parse_target(execute.target)
                self.streams.offer(target, execute.id, execute.version)
        for address, promise in unblocks:
            if scheme_of(address) == "poll":
                self.streams.unblock(address, promise, _do_nothing)


def _do_nothing(*_: object) -> None:
    """Do nothing."""


def _now() -> int:
    return time.time_ns() // 1_000_000
