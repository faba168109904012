"""Marks stores that others than their owners may have written to: a broker has served them.

Values are bytes to a broker, which reads none of them. Whoever opens the store as their own later
is to know that they may be pickles of strangers.
"""

from __future__ import annotations

from typing import Final

from understudy_store.store import Store

_KEY: Final = "served"


def mark_served(store: Store) -> None:
    """Note that a broker serves a store, durably, before it does."""
    if not is_served(store):
        store.put_fact(_KEY, "1")


def is_served(store: Store) -> bool:
    """Return whether a broker has ever served a store."""
    return store.fact(_KEY) is not None
