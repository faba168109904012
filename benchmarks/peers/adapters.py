"""Adapters of other systems: their packages, their processes, and what their results survive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.harness import Figures
from benchmarks.peers import servers
from benchmarks.peers.environment import Environment
from benchmarks.peers.session import Session, opened

WORKERS = "2"


@dataclass
class Peer:
    """Another system, as a subject.

    Attributes
    ----------
    begin
        Starts everything in a fresh session.
    packages
        The packages whose versions are recorded.
    """

    name: str
    durability: str
    synced: bool
    environment: Environment
    packages: tuple[str, ...]
    begin: Callable[[Session], None]
    #: Returns the versions of servers that are not among the packages.
    server_versions: Callable[[], dict[str, str]] = dict

    @contextmanager
    def open(self) -> Iterator[Session]:
        self.environment.ready()
        with opened(self.environment) as session:
            self.begin(session)
            yield session

    def alone(self) -> Absent:
        return Absent()

    def versions(self) -> dict[str, str]:
        return {**self.environment.versions(self.packages), **self.server_versions()}


class Absent:
    """Runs none of the workloads that start their own processes: only understudy has them."""

    def run(self, _workload: str, _size: int) -> Figures | None:
        return None


CELERY = Environment("celery", ("celery[redis]>=5.5",))
DRAMATIQ = Environment("dramatiq", ("dramatiq[redis]>=2.0",))
RAY = Environment("ray", ("ray>=2.40",))
DBOS = Environment("dbos", ("dbos>=2.0",))
RESTATE = Environment(
    "restate", ("restate-sdk[serde]>=0.9", "hypercorn>=0.17"), ("@restatedev/restate-server",)
)


def _celery(session: Session, *, synced: bool) -> None:
    url = servers.redis(session.server, session.folder, synced=synced)
    module = "benchmarks.peers.on_celery"
    session.worker(
        *("-m", "celery", "-A", module, "worker", "-c", WORKERS, "--loglevel", "warning"),
        BENCH_URL=url,
    )
    session.drive(module, BENCH_URL=url)


def _dramatiq(session: Session, *, synced: bool) -> None:
    url = servers.redis(session.server, session.folder, synced=synced)
    module = "benchmarks.peers.on_dramatiq"
    session.worker("-m", "dramatiq", module, "-p", WORKERS, BENCH_URL=url)
    session.drive(module, BENCH_URL=url)


def _ray(session: Session) -> None:
    # Ray makes unix sockets, whose paths must be short, so it uses its own folder.
    session.drive("benchmarks.peers.on_ray", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")


def _dbos_sqlite(session: Session) -> None:
    url = f"sqlite:///{session.folder}/dbos.sqlite"
    session.drive("benchmarks.peers.on_dbos", BENCH_URL=url, BENCH_ROLE="alone")


def _dbos_postgres(session: Session) -> None:
    url = servers.postgres(session.server, session.folder)
    module = "benchmarks.peers.on_dbos"
    # The first process creates the tables, so it starts before the others.
    session.drive(module, BENCH_URL=url, BENCH_ROLE="client")
    session.run("ready", 0)
    for number in range(int(WORKERS)):
        session.worker("-m", module, BENCH_URL=url, BENCH_ROLE=f"worker-{number}")


def _restate(session: Session) -> None:
    ports = servers.restate(session.server, session.folder, session.environment)
    module = "benchmarks.peers.on_restate"
    session.worker(
        *("-m", "hypercorn", "--workers", WORKERS, "--bind", f"127.0.0.1:{ports.service}"),
        f"{module}:app",
    )
    servers.listening(ports.service, "the service for Restate")
    servers.register(ports)
    session.drive(module, BENCH_URL=f"http://127.0.0.1:{ports.ingress}")


def _redis_words(synced: bool) -> str:
    kept = "every write is synced before it is answered (appendfsync always)"
    return kept if synced else "in memory only (no append-only file): a crash of Redis loses all"


def peers() -> list[Peer]:
    """Return all systems, in the order in which they are measured."""
    queues = (("celery", CELERY, _celery), ("dramatiq", DRAMATIQ, _dramatiq))
    found = [
        Peer(
            f"{name}+aof" if synced else name,
            f"Redis, {_redis_words(synced)}; 2 worker processes",
            synced,
            environment,
            (name, "redis"),
            partial(begin, synced=synced),
            servers.redis_version,
        )
        for name, environment, begin in queues
        for synced in (False, True)
    ]
    found += [
        Peer("ray", "in memory only; 2 actors", False, RAY, ("ray",), _ray),
        Peer(
            "dbos-sqlite",
            "SQLite as DBOS sets it up; all in the process that calls",
            True,
            DBOS,
            ("dbos", "sqlalchemy"),
            _dbos_sqlite,
        ),
        Peer(
            "dbos-postgres",
            "PostgreSQL with its defaults: commits are synced; 2 worker processes and a queue",
            True,
            DBOS,
            ("dbos", "sqlalchemy", "psycopg"),
            _dbos_postgres,
            servers.postgres_version,
        ),
        Peer(
            "restate",
            "Restate's own log with its defaults; 2 worker processes",
            True,
            RESTATE,
            ("restate-sdk", "hypercorn"),
            _restate,
        ),
    ]
    return found
