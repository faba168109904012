"""Texts of a store's owner among the facts in `Meta`; each within a transaction of the caller."""

from __future__ import annotations

import sqlite3
from typing import Final

#: before the keys of texts that are the owner's and not the engine's
_OWNERS: Final = "owner."


def get(driver: sqlite3.Connection, key: str) -> str | None:
    """Return the text under `key`; None if there is none."""
    query = "SELECT value FROM main.meta WHERE key = ?"
    found = driver.execute(query, (_OWNERS + key,)).fetchone()
    return None if found is None else str(found[0])


def put(driver: sqlite3.Connection, key: str, text: str) -> None:
    """Keep a text under `key`, in place of the one before."""
    driver.execute(
        "INSERT INTO main.meta (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_OWNERS + key, text),
    )
