"""Addresses of the protocol, as ours. Pure."""

from __future__ import annotations

from functools import lru_cache

from understudy_store.addresses import InvalidAddressError, canonical

_CASTS = ("poll://any@", "poll://uni@")


@lru_cache(maxsize=4096)
def stored_address(text: str, strict: bool) -> str | None:
    """Return an address as the brokers know it; None if it is none, or is not delivered to.

    Strictly, an address says whether it is for any listener of the group or for one. Otherwise
    ``poll://group`` and ``group`` are for any.

    Examples
    --------
    >>> stored_address("poll://workers", strict=False)
    'poll://any@workers'
    >>> stored_address("poll://workers", strict=True), stored_address("https://x.org", strict=False)
    (None, None)
    """
    if strict and not text.startswith(_CASTS):
        return None
    try:
        return canonical(text)
    except InvalidAddressError:
        return None
