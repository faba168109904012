"""Errors of the command line: the text for the user, and the exit code."""

from __future__ import annotations

from typing import Final

from understudy import unanswered
from understudy.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    PayloadTooLargeError,
    UnderstudyError,
)
from understudy_actors.errors import ActorError, CommandError
from understudy_broker.errors import BrokerError
from understudy_store.addresses import InvalidAddressError
from understudy_store.errors import StoreError

#: whether ``--verbose`` was given: failures are shown with their traceback
verbose: bool = False

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_NO_BROKER: Final = 4

#: Errors of wrong usage whose modules are imported only where they are needed, so they are
#: recognized by name here.
_USAGE_ERRORS: Final = (
    "SettingsError",
    "SlotMoveUsageError",
    "StoreAddressError",
    "TopologyError",
)
#: the records that can be searched
_SEARCHABLE: Final = ("promise", "task", "schedule")


class CliError(Exception):
    """A command failed; the message says what to do."""

    exit_code = EXIT_FAILED


class UsageError(CliError):
    """A command was used wrongly, so repeating it will not help; the message says what to do."""

    exit_code = EXIT_USAGE


def _no_broker_text(error: BrokerUnavailableError) -> str:
    return unanswered.text(error.url, "--url or UNDERSTUDY_URL", others_answer=error.others_answer)


def explain(error: Exception) -> tuple[str, int]:
    """Return the text for standard error, and the exit code."""
    if isinstance(error, CliError):
        return str(error), error.exit_code
    if isinstance(error, BrokerUnavailableError):
        # The SDK's own text addresses programmers.
        if error.reason:
            text = (
                f"the broker at {error.url} is not available: {error.reason}. If it runs, its log "
                "says more; another address is given with --url or UNDERSTUDY_URL"
            )
            return text, EXIT_NO_BROKER
        return _no_broker_text(error), EXIT_NO_BROKER
    if isinstance(error, ConfigurationError | InvalidAddressError):
        return str(error), EXIT_USAGE
    if type(error).__name__ in _USAGE_ERRORS:
        return str(error), EXIT_USAGE
    if isinstance(error, CommandError) and error.status in (404, 410):
        kind = error.error.partition(" ")[0]
        advice = f". To list them: understudy {kind}s search" if kind in _SEARCHABLE else ""
        return f"{error.error}{advice}", EXIT_FAILED
    if isinstance(error, CommandError | PayloadTooLargeError):
        return str(error), EXIT_REFUSED
    if isinstance(error, UnderstudyError | ActorError | BrokerError | StoreError | TimeoutError):
        return str(error), EXIT_FAILED
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), EXIT_FAILED
    text = f"unexpected error: {type(error).__name__}: {error}. Add --verbose for the traceback"
    return text, EXIT_FAILED
