"""Inquirers by the URL of a store."""

from __future__ import annotations

from pathlib import Path

from understudy_store.errors import StoreAddressError
from understudy_store.inquiry.base import Inquirer


def open_inquirer(url: str) -> Inquirer:
    """Return what answers questions to a store. Nothing is connected yet.

    Parameters
    ----------
    url
        ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a path, or
        ``postgresql://user@host/database``.

    Raises
    ------
    StoreAddressError
        `url` names no store that others can read.

    Examples
    --------
    >>> open_inquirer("sqlite:////srv/calls.db").name
    '/srv/calls.db'
    """
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from understudy_store.inquiry.postgres import PostgresInquirer
        except ImportError:
            raise StoreAddressError(
                "a store over PostgreSQL needs the package psycopg: pip install "
                "'understudy[postgres]'"
            ) from None
        return PostgresInquirer(url)
    path = url.removeprefix("sqlite:///")
    if path in ("", "memory", ":memory:") or "://" in path:
        # Not repeated, because it may hold a password.
        raise StoreAddressError(
            "that names no store that can be read: give the file of one, or "
            "postgresql://user@host/database. A store in memory is seen by its broker alone"
        )
    from understudy_store.inquiry.sqlite import SqliteInquirer

    return SqliteInquirer(Path(path))
