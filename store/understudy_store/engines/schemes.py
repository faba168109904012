"""Engines by the scheme of the store's URL.

A new kind of store is one line in `ENGINES`. Each opener imports its engine only when it is called,
so a program that keeps nothing on disk does not load SQLAlchemy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from understudy_store.engines.base import OPENING, Engine, Opening
from understudy_store.errors import StoreAddressError

#: Matches what begins with the scheme of a URL that others take for a database.
_URL: Final = re.compile(r"(?i)(sqlite|file|memory|postgres|postgresql):").match


def open_engine(url: str, opening: Opening = OPENING) -> Engine:
    """Open the engine that `url` names, or make its store.

    Parameters
    ----------
    url
        ``memory``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a plain path, or
        ``postgresql://user@host/database``.

    Raises
    ------
    StoreAddressError
        `url` names no store.
    StoreError
        The engine cannot be opened; each error says what was found and what to do.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme = "memory" if url == "memory" else "sqlite"
    opener = ENGINES.get(scheme)
    if opening.share is not None and opener not in (None, _open_postgres):
        raise StoreAddressError(
            f"{_shown(url)!r} cannot be shared by several brokers: use a store over PostgreSQL, "
            "'postgresql://user@host/database', or leave the broker's name out"
        )
    engine = None if opener is None else opener(url, opening)
    if engine is None:
        raise StoreAddressError(
            f"{_shown(url)!r} names no store: use 'memory', 'sqlite:///relative.db', "
            f"'sqlite:////absolute.db', a path or 'postgresql://user@host/database'{_hint(url)}"
        )
    return engine


def _shown(url: str) -> str:
    """Return the URL without what may be a password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else url


def _hint(url: str) -> str:
    if "?" in url:
        return ". A store's URL takes no options after '?'"
    if url.lower() == "memory":
        return ". 'memory' is written in small letters"
    if _URL(url) and "://" not in url:
        return ". For a file of this very name, write './' before it"
    return ""


def _open_memory(url: str, _: Opening) -> Engine | None:
    if url != "memory":
        return None
    from understudy_store.engines.memory import MemoryEngine

    return MemoryEngine()


def _open_sqlite(url: str, opening: Opening) -> Engine | None:
    path = url.removeprefix("sqlite:///")
    # What looks like a URL would else become a file of that name, where nobody would look for it.
    if path in ("", ":memory:") or url.lower() == "memory" or _URL(path):
        return None
    if path != url and "?" in path:
        return None
    from understudy_store.engines.sqlite.engine import SqliteEngine

    return SqliteEngine(Path(path), opening)


def _open_postgres(url: str, opening: Opening) -> Engine:
    try:
        import psycopg  # noqa: F401 - it is missing where the extra was not installed
    except ImportError as error:
        raise StoreAddressError(
            "a store over PostgreSQL needs a driver that is not installed here "
            f"({error}): pip install 'psycopg[binary]>=3.3'"
        ) from error
    if opening.share is not None:
        from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine

        return SharedPostgresEngine(url, opening)
    from understudy_store.engines.postgres.engine import PostgresEngine

    return PostgresEngine(url, opening)


#: Scheme of the URL, and the function that opens the store. It returns None if the URL names none.
ENGINES: Final[Mapping[str, Callable[[str, Opening], Engine | None]]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
