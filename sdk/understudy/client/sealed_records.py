"""Commands that are sealed before they go to a broker, and what comes from it, opened.

This is the border: inside a process values are plain, outside of it they are sealed. What cannot be
opened stays as it is, and is refused where it is read; so a page of promises does not fail because
of one of them.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec.structs import replace

from understudy.values.seals import PARAM, Place, Sealer
from understudy_broker.protocol.messages import (
    AnyCommand,
    Forward,
    Invoke,
    OwnCommand,
    PromiseCreateWatched,
    Refused,
    Response,
    Resume,
    Settled,
    ToPeer,
    Unblock,
)
from understudy_broker.protocol.placement import in_name_of, own_command
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSettle,
    Reply,
    ScheduleCreate,
    SchedulePut,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskRelease,
)
from understudy_store.records import (
    CANCELED,
    HEADER_FUNCTION,
    PromiseRecord,
    ScheduleRecord,
    Value,
)

_Answer: TypeAlias = Response | Refused
#: what a fence holds
_Inner: TypeAlias = PromiseCreate | PromiseSettle


class SealedRecords:
    """Seals commands, and opens replies and messages, all with the keys of one process."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer: Final = sealer

    # To the broker -------------------------------------------------------------------------------

    def seal(self, command: AnyCommand) -> AnyCommand:
        """Return a command with its values sealed, each for its place."""
        return in_name_of(command, self._sealed_own(own_command(command)))

    def _sealed_own(self, command: OwnCommand) -> OwnCommand:
        match command:
            case PromiseCreate() | PromiseSettle():
                return self._sealed_inner(command)
            case PromiseCreateWatched():
                return replace(command, create=self._sealed_create(command.create))
            case TaskFence():
                return replace(command, commands=tuple(map(self._sealed_inner, command.commands)))
            case TaskCreate():
                return replace(command, param=self._sealed_param(command.id, command.param))
            case TaskFulfill():
                return replace(
                    command, value=self._sealed(command.value, Place(command.id, command.state))
                )
            case PromiseCancel():
                return replace(
                    command, value=self._sealed(command.value, Place(command.id, CANCELED))
                )
            case TaskRelease() if command.cause:
                return replace(command, cause=_without_message(command.cause))
            case TaskHalt() if command.version:
                return replace(command, cause=_without_repr(command.cause))
            case ScheduleCreate() | SchedulePut():
                return replace(command, promise_param=self._sealed_param("", command.promise_param))
        return command

    def _sealed_inner(self, command: _Inner) -> _Inner:
        if isinstance(command, PromiseCreate):
            return self._sealed_create(command)
        place = Place(command.id, command.state)
        return replace(command, value=self._sealed(command.value, place))

    def _sealed_create(self, command: PromiseCreate) -> PromiseCreate:
        return replace(command, param=self._sealed_param(command.id, command.param))

    def _sealed_param(self, id_: str, param: Value) -> Value:
        return self._sealed(param, _param_place(id_, param))

    def _sealed(self, value: Value, place: Place) -> Value:
        if value.data is None:
            return value
        return Value(value.headers, self._sealer.seal(value.data, place))

    # From the broker -----------------------------------------------------------------------------

    def open_answer(self, answer: _Answer) -> _Answer:
        """Open the values of an answer."""
        if isinstance(answer, Response):
            self.open_reply(answer.reply)
        return answer

    def open_reply(self, reply: Reply) -> Reply:
        """Open the values of a reply, in place."""
        if reply.promise is not None:
            reply.promise = self.opened(reply.promise)
        if reply.promises:
            reply.promises = list(map(self.opened, reply.promises))
        if reply.schedule is not None:
            reply.schedule = self._opened_schedule(reply.schedule)
        if reply.schedules:
            reply.schedules = list(map(self._opened_schedule, reply.schedules))
        for inner in reply.replies or ():
            if inner is not None:
                self.open_reply(inner)
        return reply

    def open_messages(self, messages: list[ToPeer]) -> list[ToPeer]:
        """Return messages with their values opened."""
        return list(map(self._open_message, messages))

    def _open_message(self, message: ToPeer) -> ToPeer:
        match message:
            case Settled():
                return Settled(list(map(self.opened, message.promises)))
            case Invoke():
                return Invoke(self.opened(message.promise), message.version)
            case Resume() if message.preload is not None:
                preload = list(map(self.opened, message.preload))
                return replace(message, promise=self.opened(message.promise), preload=preload)
            case Resume() | Unblock():
                return replace(message, promise=self.opened(message.promise))
            case Forward() if message.promise is not None:
                return replace(message, promise=self.opened(message.promise))
        return message

    def opened(self, record: PromiseRecord) -> PromiseRecord:
        """Return a promise with its param and its value opened."""
        param, value = record.param, record.value
        if param.data is not None:
            param = self._opened(param, _param_place(record.id, param))
        if value.data is not None:
            value = self._opened(value, Place(record.id, record.state))
        if param is record.param and value is record.value:
            return record
        # Spelled out, because it is done for every message, and `replace` takes twice the time.
        return PromiseRecord(
            record.id,
            record.state,
            param,
            value,
            record.tags,
            record.timeout_at,
            record.created_at,
            record.settled_at,
        )

    def _opened_schedule(self, record: ScheduleRecord) -> ScheduleRecord:
        param = record.promise_param
        return replace(record, promise_param=self._opened(param, _param_place("", param)))

    def _opened(self, value: Value, place: Place) -> Value:
        data = value.data
        if data is None:
            return value
        opened = self._sealer.opened(data, place)
        return value if opened is data else Value(value.headers, opened)


def _without_message(cause: str) -> str:
    """Return the cause of a failed attempt without the error's message, which is a value.

    Examples
    --------
    >>> _without_message("attempt 1 of 3 failed: ValueError: no card 4711")
    'attempt 1 of 3 failed: ValueError'
    """
    attempt, failed, error = cause.partition(" failed: ")
    name, _, _ = error.partition(": ")
    return f"{attempt}{failed}{name}" if failed else ""


def _without_repr(cause: str) -> str:
    """Return the cause of a parked task without the error that its function ended with.

    Examples
    --------
    >>> _without_repr("nothing: it ended with ValueError('no card 4711') (at a.py:12)")
    'nothing: it ended with ValueError (at a.py:12)'
    """
    start, ended, error = cause.partition(" it ended with ")
    if not ended:
        return cause
    _, at, end = error.rpartition(" (at ")
    return f"{start}{ended}{error.partition('(')[0]}{at}{end if at else ''}"


def _param_place(id_: str, param: Value) -> Place:
    return Place(id_, PARAM, param.headers.get(HEADER_FUNCTION, ""))
