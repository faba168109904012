"""The result of one step of a routine: what the interpreter asks the node to do."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec

from understudy_actors.errors import NonDeterminismError, UnreadableError
from understudy_actors.interpreter.empty import NO_LIST
from understudy_actors.interpreter.outcome import Outcome
from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.commands import PromiseCreate, PromiseSettle
from understudy_store.records import PromiseRecord

#: the coroutine yielded nothing to its event loop
NO_TRAP: Final = object()

ChildCommand: TypeAlias = PromiseCreate | PromiseSettle


class LocalStart(msgspec.Struct, eq=False):
    """A local call, to be performed in the same activation.

    Parameters
    ----------
    record
        The promise of the call; pending, and not necessarily stored yet.
    time_ms
        The caller's ``ctx.time``, at which the callee's begins. A replay knows it too.
    """

    function: FunctionLike
    spec: CallSpec
    record: PromiseRecord
    time_ms: int


class StepResult(msgspec.Struct, eq=False):
    """Everything that one step asks for. Afterwards the routine is done, or to be retried, or
    waits."""

    #: commands for the store, to be sent in order within a fence of the task
    commands: list[ChildCommand] = msgspec.field(default_factory=list)
    locals: list[LocalStart] = NO_LIST
    #: ids of promises whose call graphs are to be canceled
    cancels: tuple[str, ...] = ()
    done: Outcome | None = None
    #: a leaf failed, and is to be run again after that many seconds
    retry_after_s: float | None = None
    retry_error: BaseException | None = None
    #: attempts that its policy allows; None: it does not say
    attempts_max: int | None = None
    #: The history does not suit the code, or cannot be read here: the task is to be parked, and
    #: nothing else is asked for.
    mismatch: NonDeterminismError | UnreadableError | None = None
    #: the object that a coroutine yielded to its event loop (a *trap*), which may be None
    trap: Any = NO_TRAP

    def start(self, call: LocalStart) -> None:
        """Add a local call."""
        if not self.locals:
            self.locals = []
        self.locals.append(call)
