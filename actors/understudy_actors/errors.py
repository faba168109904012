"""Errors that the floor of actors raises."""

from __future__ import annotations


class ActorError(Exception):
    """Base of the errors of this floor."""


class NonDeterminismError(ActorError):
    """A function, replayed, asks for something else than its history holds.

    Happens when the code of a durable function changed while one of its calls was under way. Run
    the old code until it has finished, or register the change as a new version.
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


class CommandError(ActorError):
    """The broker refused what a function asked for; `status` as in HTTP."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error

    def __str__(self) -> str:
        return f"{self.error} (status {self.status})"
