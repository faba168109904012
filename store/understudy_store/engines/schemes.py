"""Engines by the scheme of the store's URL.

A new kind of store is one line in `ENGINES`. Each opener imports its engine only when it is called,
so a program that keeps nothing on disk does not load SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from understudy_store.engines.base import OPENING, Engine, Opening
from understudy_store.errors import StoreAddressError


def open_engine(url: str, opening: Opening = OPENING) -> Engine:
    """Open the engine that `url` names, or make its store.

    Parameters
    ----------
    url
        ``memory``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or a plain path.

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
    engine = None if opener is None else opener(url, opening)
    if engine is None:
        raise StoreAddressError(
            f"{url!r} names no store: use 'memory', 'sqlite:///relative.db', "
            "'sqlite:////absolute.db' or a path"
        )
    return engine


def _open_memory(url: str, _: Opening) -> Engine | None:
    if url != "memory":
        return None
    from understudy_store.engines.memory import MemoryEngine

    return MemoryEngine()


def _open_sqlite(url: str, opening: Opening) -> Engine | None:
    path = url.removeprefix("sqlite:///")
    if path in ("", ":memory:") or path.startswith("sqlite://"):
        return None
    from understudy_store.engines.sqlite.engine import SqliteEngine

    return SqliteEngine(Path(path), opening)


#: Scheme of the URL, and the function that opens the store. It returns None if the URL names none.
ENGINES: Final[Mapping[str, Callable[[str, Opening], Engine | None]]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
}
