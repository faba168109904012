"""A primary with a synchronous standby that may take its place, again and again."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg
import trio

from tests.cluster import Cluster
from tests.support import eventually

T = TypeVar("T")

_STANDBY: Final = "standby"


class StandbyPair:
    """Two servers, each of which is the primary or its standby.

    When the primary has failed, the standby takes its place and has no standby itself at first, so
    commits do not wait for one. Then the first server becomes its standby, at its old port: the URL
    names both servers for ever.

    All methods but `call` block. A server ends with the thread that has started it, so `call` runs
    them on one thread, which lasts until the end.

    Attributes
    ----------
    schema
        Of the store that the `url` is about.
    """

    def __init__(self, programs: Path, schema: str) -> None:
        self.schema = schema
        self._clusters: list[Cluster] = []
        self._programs = programs
        self._thread = ThreadPoolExecutor(1, "database")

    def __enter__(self) -> Self:
        try:
            self._thread.submit(self.start).result()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    @property
    def primary(self) -> Cluster:
        """The server that takes writes."""
        return self._clusters[0]

    @property
    def standby(self) -> Cluster:
        """The other server."""
        return self._clusters[1]

    @property
    def url(self) -> str:
        """The URL of the store, with both servers."""
        first, second = sorted(self._clusters, key=lambda cluster: cluster.port)
        return f"{first.url_of('postgres', second)}?schema={self.schema}"

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Run a function on the thread of the servers."""
        future = self._thread.submit(partial(function, *args))
        # Not abandoned: the function is at work on the servers.
        return await trio.to_thread.run_sync(future.result)

    def start(self) -> None:
        """Make and start both servers."""
        for _ in range(2):
            self._clusters.append(Cluster(self._programs))
        self.primary.make()
        self.primary.start()
        self._follow()

    def _follow(self) -> None:
        """Make the standby out of the primary, and have commits wait for it from now on."""
        self.standby.copy_of(self.primary, _STANDBY)
        self.standby.start()
        self.primary.configure(f"synchronous_standby_names = '{_STANDBY}'")
        self.primary.reload()
        eventually(self._is_synchronous, 60.0)

    def _is_synchronous(self) -> bool:
        with self.primary.admin() as connection:
            found = connection.execute("select sync_state from pg_stat_replication").fetchall()
        return found == [("sync",)]

    def kill(self) -> None:
        """End the primary at once, as if it had crashed."""
        self.primary.stop(signal.SIGQUIT)

    def promote(self) -> None:
        """Make the standby the primary, and return when it is."""
        self.standby.promote()
        self._clusters.reverse()

    def renew(self) -> None:
        """Make a new standby in the place of the server that was killed."""
        shutil.rmtree(self.standby.data)
        self._follow()

    def rows(self, query: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query about the store."""
        with self.primary.admin() as connection:
            connection.execute(f'set search_path to "{self.schema}"'.encode())
            return connection.execute(query.encode(), values or None).fetchall()

    def owners(self) -> list[tuple[str, int] | None]:
        """Return the name and the writer of the broker that has each slot.

        None: nobody does, or a broker that is fenced. If the database cannot be asked, nobody has
        any.
        """
        query = (
            "select w.name, w.id from slot s left join writer w "
            "on w.id = s.writer and w.joined and not w.fenced order by s.slot"
        )
        try:
            found = self.rows(query)
        except psycopg.OperationalError:
            return [None] * 256
        return [None if name is None else (name, writer) for name, writer in found]

    def cut(self, count: int) -> int:
        """End some sessions of brokers, chosen at random; return how many there were."""
        query = (
            "select pg_terminate_backend(pid) from (select pid from pg_stat_activity "
            "where application_name like 'understudy/%%' order by random() limit %s) as chosen"
        )
        return len(self.rows(query, count))

    def remove(self) -> None:
        """Stop both servers and remove their files, whatever has become of them."""
        self._thread.shutdown()
        for cluster in self._clusters:
            cluster.remove()
