"""Errors of the pool."""

from __future__ import annotations

from understudy_actors.errors import ActorError
from understudy_actors.processes.restart import describe_exit


class ProcessStartError(ActorError):
    """A process could not even be started: no such program or folder, or no right to run it."""


class RestartLimitError(ActorError):
    """A process died too often, or hopelessly, and the pool has stopped all the others too.

    Parameters
    ----------
    name
        The process, as its `ProcessSpec` names it.
    exit_code
        How its last run ended: an exit code, or minus the number of a signal; None if that run
        could not be started.
    reason
        Why it was not started again; completes "it was not started again: ...".
    lines
        The last lines of its output.
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
