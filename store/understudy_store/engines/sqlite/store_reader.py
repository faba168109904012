"""A reader of the file of a store, which changes nothing: a copy, or one that a broker has open.

It takes no lock and migrates nothing, so it reads only stores of this release's schema. Of a store
that is open it sees what the follower has written: the latest commits may be in the journal only.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from understudy_store.commands import ReadCommand, Reply
from understudy_store.engines.base import Read
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.answers import answer, asking
from understudy_store.engines.sql.rows import row_of
from understudy_store.engines.sqlite.database import QUERIES, connect_reader, explained
from understudy_store.engines.sqlite.files import check_not_open_here, check_ours, resolved
from understudy_store.errors import StoreAccessError, StoreVersionError
from understudy_store.records import Row

#: Nothing is projected to another time: promises are shown as they were written.
_AS_WRITTEN: Final = 0


class StoreReader:
    """Answers searches from the file at `path`.

    Raises
    ------
    StoreAccessError
        There is no such file, or it cannot be read.
    StoreFormatError
        It is no store.
    StoreVersionError
        Its schema is that of another release.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = resolved(path)
        check_not_open_here(path)
        if not check_ours(path):
            raise StoreAccessError(f"there is no store {path}: name the file of one")
        with explained(path):
            self._connection = connect_reader(path)
            try:
                with self._connection.begin():
                    query = f"SELECT version_num FROM {migrations.VERSION_TABLE}"
                    schema = self._connection.exec_driver_sql(query).scalar()
            except BaseException:
                self._connection.close()
                raise
        if schema != migrations.HEAD:
            self._connection.close()
            raise StoreVersionError(
                f"the store {path} has schema {schema}, and this understudy reads "
                f"{migrations.HEAD}: use the release of its broker, or open a copy of it with a "
                "broker of this one first"
            )

    def search(self, command: ReadCommand) -> Reply:
        """Answer a search, as of the moment in which it begins."""
        with explained(self.path), self._connection.begin():
            return answer(QUERIES, Read(command, _AS_WRITTEN), asking(self._connection))

    def find(self, id: str) -> Row | None:
        """Return a promise with its task; None if it does not exist."""
        with explained(self.path), self._connection.begin():
            rows = list(self._connection.execute(QUERIES.promises([id])))
        return row_of(rows[0]) if rows else None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
