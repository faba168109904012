"""What can go wrong with a store: each says what was found, and what to do.

All of them are the world's doing (a file, a disk, another process), never a command's: a command
that cannot be done is answered with a status.
"""


class StoreError(Exception):
    """Base of all errors of the store."""


class StoreAddressError(StoreError):
    """The text names no store."""


class StoreAccessError(StoreError):
    """The file or its directory cannot be made, read or written."""


class StoreLockedError(StoreError):
    """Another process has the store open; a store has one owner at a time."""


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


class StoreClosedError(StoreError):
    """The store was closed before the call."""
