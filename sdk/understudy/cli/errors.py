"""Which errors the command line explains, and with which exit code."""

from __future__ import annotations

from typing import Final

from understudy.errors import BrokerUnavailableError, ConfigurationError, UnderstudyError
from understudy_actors.errors import ActorError, CommandError
from understudy_broker.errors import BrokerError
from understudy_store.addresses import InvalidAddressError
from understudy_store.errors import StoreError

#: whether ``--verbose`` was given: with a failure, show where it happened
verbose: bool = False

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_SEARCH: Final = ". To see what there is: understudy {}s search"


class CliError(Exception):
    """A command could not do what it was asked; the message says what to do."""

    exit_code = EXIT_FAILED


class UsageError(CliError):
    """A command was asked for something that makes no sense; repeating it will not help."""

    exit_code = EXIT_USAGE


def explain(error: Exception) -> tuple[str, int]:
    """The line for standard error, and the exit code."""
    if isinstance(error, CliError):
        return str(error), error.exit_code
    if isinstance(error, BrokerUnavailableError):
        # the SDK's own text speaks to programmers
        text = (
            f"no broker answers at {error.url}. Start one with: understudy broker; "
            "or give its address with --url or UNDERSTUDY_URL"
        )
        return text, EXIT_FAILED
    if isinstance(error, ConfigurationError | InvalidAddressError):
        return str(error), EXIT_USAGE
    # named and not imported: these modules are loaded where they are needed, and only there
    if type(error).__name__ in ("SettingsError", "StoreAddressError", "TopologyError"):
        return str(error), EXIT_USAGE
    if isinstance(error, CommandError) and error.status == 404:
        kind = error.error.partition(" ")[0]
        known = kind in ("promise", "task", "schedule")
        return f"{error.error}{_SEARCH.format(kind) if known else ''}", EXIT_FAILED
    if isinstance(error, UnderstudyError | ActorError | BrokerError | StoreError | TimeoutError):
        return str(error), EXIT_FAILED
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), EXIT_FAILED
    text = f"{type(error).__name__}: {error}"
    return f"unexpected: {text} (add --verbose to see where)", EXIT_FAILED
