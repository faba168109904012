"""Errors that the floor of actors raises."""

from __future__ import annotations

import signal

from understudy_store.errors import UnderstudyError
from understudy_store.records import HEADER_DROPPED, PromiseRecord


class ActorError(UnderstudyError):
    """The base of the errors of this floor."""


class NonDeterminismError(ActorError):
    """A function, replayed, makes another call than the one its history holds.

    This happens when the code of a durable function changed while one of its calls was under way.
    It is never a call's result: the task is parked, with this error as the cause, and goes on where
    it was when it is continued on the old code. Register the change as a new version.

    Parameters
    ----------
    promise : str
        The id of the call that was recorded.
    recorded : str
        The recorded call, such as ``rpc charge``.
    asked : str
        The call that the code makes now.
    recorded_at, asked_at : str, optional
        Where in the code the two calls stand: ``file.py:12``.
    """

    def __init__(
        self,
        promise: str,
        recorded: str,
        asked: str,
        recorded_at: str = "?",
        asked_at: str = "?",
    ) -> None:
        super().__init__(promise, recorded, asked, recorded_at, asked_at)
        self.promise = promise
        self.recorded = recorded
        self.asked = asked
        self.recorded_at = recorded_at
        self.asked_at = asked_at

    def __str__(self) -> str:
        return (
            f"{self.promise}: the history holds {self.recorded} (called at {self.recorded_at}), "
            f"but the code now asks for {self.asked} (at {self.asked_at}). A durable function must "
            "make the same calls in the same order when it is replayed: register changed code as a "
            "new version, or let running calls finish on the old code"
        )


class UnreadableError(ActorError):
    """A stored value cannot be read in this process, though another one could: it lacks a key.

    Like `NonDeterminismError` it is never a call's result: a task that needs the value is parked,
    with this error as the cause, and goes on where it was when it is continued.
    """


class CommandError(ActorError):
    """The broker refused a command.

    Parameters
    ----------
    status : int
        The reason as a number, as in HTTP: 400 malformed, 404 absent, 409 conflict, 410 deleted,
        413 too large.
    error : str
        The reason in words.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error

    def __str__(self) -> str:
        return f"{self.error} (status {self.status})"


class PurgedError(CommandError):
    """A command is about a promise that was deleted after its end; the id stays taken for a while.

    Nothing was done: a call that comes twice is not performed twice. Use a new id for a new call.
    How long ids stay taken is the broker's setting ``retention.idempotency``.

    Parameters
    ----------
    status : int
        410.
    error : str
        The reason in words.
    """


class ValueDroppedError(UnreadableError):
    """A call has ended, but its arguments and its value were deleted, as the broker is told to.

    How long they are kept is the broker's setting ``retention.values``.

    Parameters
    ----------
    promise_id : str
        The id of the call.
    dropped_at : str
        When they were deleted, epoch milliseconds.
    """

    def __init__(self, promise_id: str, dropped_at: str) -> None:
        super().__init__(promise_id, dropped_at)
        self.promise_id = promise_id
        self.dropped_at = dropped_at

    def __str__(self) -> str:
        return (
            f"{self.promise_id!r} has ended, but its value was deleted since (at {self.dropped_at} "
            "ms): the broker's setting retention.values says how long values are kept"
        )


def check_not_dropped(record: PromiseRecord) -> None:
    """Raise a `ValueDroppedError` if the payloads of a promise were deleted."""
    dropped_at = record.value.headers.get(HEADER_DROPPED)
    if dropped_at is not None:
        raise ValueDroppedError(record.id, dropped_at)


def refused(status: int, error: str) -> CommandError:
    """Return the error for a command that the broker has refused."""
    return PurgedError(status, error) if status == 410 else CommandError(status, error)


class RequestError(ActorError, TypeError):
    """A request that ``ctx`` made was used as if it were its value, or something else was yielded.

    Write ``x = yield ctx.rpc(...)`` (or ``await``): only what a function yields is carried out.
    """


class LateOptionsError(ActorError, RuntimeError):
    """Options were set on a call that had been yielded already."""


class ProcessStartError(ActorError):
    """A process could not be started: no such program or folder, or no right to run it."""


class RestartLimitError(ActorError):
    """A process of a pool kept dying, so the pool has given up and stopped all the others too.

    Parameters
    ----------
    name : str
        The name of the process, such as ``workers/1``.
    exit_code : int or None
        Of its last run: an exit code, or minus the signal's number; None if it could not start.
    reason : str
        Why it was not started again.
    lines : tuple of str
        The last lines that it wrote.
    """

    def __init__(
        self, name: str, exit_code: int | None, reason: str, lines: tuple[str, ...]
    ) -> None:
        super().__init__(name, exit_code, reason, lines)
        self.name = name
        self.exit_code = exit_code
        self.reason = reason
        self.lines = lines

    def __str__(self) -> str:
        head = (
            f"{self.name} {describe_exit(self.exit_code)} and was not started again: {self.reason}"
        )
        if not self.lines:
            return f"{head}. It wrote nothing"
        return "\n".join((f"{head}. Its last lines:", *(f"  {line}" for line in self.lines)))


def describe_exit(code: int | None) -> str:
    """Say how a process ended: "exited with code 1", "was killed by SIGKILL"."""
    if code is None:
        return "could not be started"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
