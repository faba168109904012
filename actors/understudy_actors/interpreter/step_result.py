"""What one step of a routine gives back: the interpreter asks, the node performs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from understudy_store.commands import PromiseCreate, PromiseSettle
from understudy_store.records import PENDING, PromiseRecord, SettleState, Value

if TYPE_CHECKING:
    from understudy_actors.interpreter.ports import FunctionLike
    from understudy_actors.interpreter.requests import CallSpec

#: the coroutine yielded nothing to its event loop
NO_TRAP: Final = object()
#: most steps start none: see `journal`
NO_CALLS: Final[Any] = ()

ChildCommand: TypeAlias = PromiseCreate | PromiseSettle


class Outcome:
    """How a function ended, encoded."""

    __slots__ = ("error", "state", "value")

    def __init__(
        self, state: SettleState, value: Value, error: BaseException | None = None
    ) -> None:
        self.state: SettleState = state
        self.value = value
        #: for logs on this node; what others see is in `value`
        self.error = error


class LocalStart:
    """A call to be performed by this same activation."""

    __slots__ = ("function", "record", "spec", "time_ms")

    def __init__(
        self, function: FunctionLike, spec: CallSpec, record: PromiseRecord, time_ms: int
    ) -> None:
        self.function = function
        self.spec = spec
        self.record = record
        #: the caller's ``ctx.time``, where the callee's begins: a replay knows it too
        self.time_ms = time_ms


class StepResult:
    """One step's worth of requests. After them the routine is `done`, wants a retry, or waits."""

    __slots__ = ("cancels", "commands", "done", "foreign", "locals", "retry_after_s", "retry_error")

    def __init__(self) -> None:
        #: to be sent in order, fenced by the task
        self.commands: list[ChildCommand] = []
        self.locals: list[LocalStart] = NO_CALLS
        #: promises whose call graphs are to be canceled
        self.cancels: tuple[str, ...] = ()
        self.done: Outcome | None = None
        #: a leaf failed and is to be run again after that many seconds
        self.retry_after_s: float | None = None
        self.retry_error: BaseException | None = None
        #: what a coroutine yielded to its event loop; that may be None
        self.foreign: Any = NO_TRAP

    def start(self, call: LocalStart) -> None:
        """One more call to be performed here."""
        if not self.locals:
            self.locals = []
        self.locals.append(call)


def pending_record(create: PromiseCreate, now_ms: int) -> PromiseRecord:
    """The promise as it is before the broker has answered."""
    return PromiseRecord(
        create.id, PENDING, create.param, Value({}), create.tags, create.timeout_at, now_ms
    )
