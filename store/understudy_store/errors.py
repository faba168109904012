"""The root of all errors, and the errors of a store; each message says what to do next.

A store's errors come from outside (a file, a disk, another process), never from a command: a
command that cannot be carried out is answered with a status.
"""


class UnderstudyError(Exception):
    """The base of all errors that understudy raises.

    It stands on the lowest floor, because the errors of every floor inherit it. Users import it as
    ``understudy.UnderstudyError``.
    """


class StoreError(UnderstudyError):
    """The base of all errors of a store."""


class StoreAddressError(StoreError):
    """The text names no store."""


class StoreAccessError(StoreError):
    """The file or its directory cannot be made, read or written."""


class StoreLockedError(StoreError):
    """Another process has the store open; a store has one owner at a time."""


class StoreSharedError(StoreError):
    """Several brokers share the store, or did; this one wants it for itself."""


class StoreFormatError(StoreError):
    """The file is something else than a store, or is damaged."""


class StoreGoneError(StoreError):
    """A file of an open store was removed or replaced: what is written does not last."""


class StoreVersionError(StoreError):
    """A newer understudy made the store."""


class StoreFailedError(StoreError):
    """A commit failed, and nothing after it is done either (fail-stop)."""


class StoreFencedError(StoreError):
    """Another broker has taken the store over, so this one may not write any more."""


class StoreDatabaseError(StoreError):
    """The database of a store refuses what is asked of it, or stays away."""


class StoreRolledBackError(StoreError):
    """The database no longer has commits that it had acknowledged."""


class StoreClosedError(StoreError):
    """The store was closed before the call."""


class SearchTimeoutError(StoreError):
    """A search took longer than searches may."""


class OpeningStoppedError(StoreError):
    """The store's owner did not want it any more before it was open."""
