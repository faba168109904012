"""Old public names, which work for one more release."""

from __future__ import annotations

import warnings


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller's caller that `old` goes away with the next release, and name `new`."""
    warnings.warn(
        f"{old} goes away with the next release: use {new}", DeprecationWarning, stacklevel=3
    )
