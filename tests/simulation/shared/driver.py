"""The driver of the model of PostgreSQL: as much of psycopg as the engine uses.

A call sends a request, and its thread waits for the answer. Each way takes a while, in which the
connection may be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import OperationalError

from tests.simulation.shared.server import Result, Server, Session, gone
from tests.simulation.shared.threads import Answer, Process, Wait, here
from understudy_store.commands import TaskPreload
from understudy_store.engines.base import Opening
from understudy_store.engines.postgres.address import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    Address,
    parse,
)
from understudy_store.engines.postgres.connections import Connector
from understudy_store.engines.postgres.statements import Statements

if TYPE_CHECKING:
    from tests.simulation.world import World

URL: Final = "postgresql://sim/store"
ADDRESS: Final[Address] = parse(URL)
_NAMES: Final = {
    text: name for name, text in vars(Statements(ADDRESS.schema)).items() if isinstance(text, str)
}
#: The longest time until a server notices that a client is gone.
NOTICE_MS: Final = (0, 0, 1, 30, 2_000)
#: The same, if a machine is gone without a word.
KEEPALIVE_MS: Final = (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT) * 1000
#: The time after which a request comes late, over a connection that its client has given up.
LATE_MS: Final = (0, 1, 30, 500)


class Database:
    """The way from the brokers to the server: who is connected, and who is cut off.

    Attributes
    ----------
    cut_off
        Until when a broker cannot reach the server, by its name.
    """

    def __init__(self, world: World, server: Server) -> None:
        self.world = world
        self.server = server
        self.cut_off: dict[str, int] = {}
        #: Open connections.
        self.connections: dict[SimConnection, None] = {}

    def is_reachable(self, process: Process) -> bool:
        return self.server.is_up and self.cut_off.get(process.name, 0) <= self.world.now

    def cut(self, connection: SimConnection) -> None:
        """Cut a connection: what is under way may be lost, come late, or be done."""
        world = self.world
        session = connection.session
        if session is None:
            return
        world.counts["database connections cut"] += 1
        session.client = None
        under_way = connection.lost("server closed the connection unexpectedly")
        if under_way is not None and world.rng.random() < 0.5:
            world.after(world.pick(LATE_MS), lambda: session.take(*under_way))
        world.after(world.pick(NOTICE_MS), lambda: self._notice(session))

    def left(self, process: Process, *, is_silent: bool) -> None:
        """Let the server notice that a process has ended; silently, if its machine has."""
        for connection in [each for each in self.connections if each.process is process]:
            del self.connections[connection]
            session = connection.session
            if session is not None:
                session.client, session.is_silent = None, is_silent
                ms = KEEPALIVE_MS if is_silent else self.world.pick(NOTICE_MS)
                self.world.after(ms, self._noticed(session))

    def _noticed(self, session: Session) -> Callable[[], None]:
        return lambda: self._notice(session)

    def _notice(self, session: Session) -> None:
        """End a session whose client is gone, once it is at work no more."""
        if session.is_at_work:
            # It is noticed when the answer cannot be sent.
            return
        session.end()


class SimConnector(Connector):
    """Opens connections to the model."""

    #: Set for each world.
    database: Database

    def __init__(self, address: Address, opening: Opening) -> None:
        super().__init__(address, opening)
        # There is one store, whatever the address is.
        self._process = here()

    def open(self, *, autocommit: bool = True) -> Any:
        """Connect, which takes a round trip."""
        database, process = self.database, here()
        wait = Wait()
        wait.fire(None, database.world.net_ms())
        wait.block()
        if not database.is_reachable(process):
            raise gone()
        return SimConnection(database, process, self.application_name)


class SimConnection:
    """A connection, as `psycopg.Connection`."""

    def __init__(self, database: Database, process: Process, name: str) -> None:
        self._database = database
        self.process = process
        self.session: Session | None = Session(database.server, self, name)
        self.closed = False
        self._depth = 0
        self._begins = False
        self._wait: Wait | Answer | None = None
        #: The request that is on its way to the server.
        self._under_way: tuple[str, Any] | None = None
        self._late: str = ""
        database.connections[self] = None

    # Requests ------------------------------------------------------------------------------------

    def call(self, name: str, values: Any) -> Result:
        """Send a request, and wait for the answer."""
        session = self.session
        if session is None:
            self.closed = True
            raise OperationalError(self._late or "the connection is closed")
        wait = Wait()
        self.ask(name, values, wait)
        reply = wait.block()
        self._wait = None
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, Result)
        return reply

    def ask(self, name: str, values: Any, wait: Wait | Answer) -> None:
        """Send a request; the answer ends the wait."""
        session = self.session
        assert session is not None
        self._wait = wait
        if self._begins:
            self._begins = False
            session.begins = True
        self._send(session, name, values)

    def _send(self, session: Session, name: str, values: Any) -> None:
        world = self._database.world
        under_way = self._under_way = name, values

        def arrive() -> None:
            if self._under_way is under_way:
                self._under_way = None
                if self.session is session:
                    session.take(name, values)

        world.after(world.net_ms(), arrive)

    def answered(self, reply: object) -> None:
        """Take an answer, which has left the server."""
        wait, session = self._wait, self.session
        if wait is None:
            return
        world = self._database.world

        def arrive() -> None:
            if self.session is session:
                wait.end(reply)

        world.after(world.net_ms(), arrive)

    def lost(self, why: str) -> tuple[str, Any] | None:
        """Note that the connection is gone; return the request that has not arrived."""
        self.session = None
        self._late = why
        self._database.connections.pop(self, None)
        under_way, self._under_way = self._under_way, None
        wait = self._wait
        if wait is not None and not wait.is_over:
            self.closed = True
            wait.fire(OperationalError(why), self._database.world.net_ms())
        return under_way

    def close(self) -> None:
        """Close it; the server notices soon."""
        self.closed = True
        session, self.session = self.session, None
        self._database.connections.pop(self, None)
        if session is not None:
            session.client = None
            world = self._database.world
            world.after(world.net_ms(), lambda: None if session.is_at_work else session.end())

    # The interface -------------------------------------------------------------------------------

    def execute(
        self, text: str, values: Any = None, *, prepare: bool = False, binary: bool = False
    ) -> SimCursor:
        return SimCursor(self).execute(text, values)

    def cursor(self, name: str = "", *, binary: bool = False) -> SimCursor:
        return SimCursor(self)

    @contextmanager
    def transaction(self) -> Iterator[SimTransaction]:
        made = SimTransaction(self)
        if self._depth:
            # As a savepoint, which nobody goes back to and goes on.
            yield made
            return
        self._depth = 1
        # It takes no round trip of its own here, because nothing depends on when it arrives.
        self._begins = True
        try:
            yield made
        except psycopg.Rollback:
            self._roll_back()
        except Exception:
            self._roll_back()
            raise
        else:
            if made.is_over:
                return
            self._depth = 0
            if not self._begins:
                self.call("COMMIT", None)
        finally:
            self._depth = 0
            self._begins = False

    def _roll_back(self) -> None:
        if self.session is not None and not self._begins:
            self.call("ROLLBACK", None)

    def __enter__(self) -> SimConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimPrepared:
    """A prepared statement, as `Prepared`; that it is prepared takes no time."""

    def __init__(self, connection: SimConnection, _name: str, text: str, _types: object) -> None:
        self._connection = connection
        self._statement = _NAMES[text]
        self._answer: Answer | None = None
        self.is_under_way = False

    @property
    def descriptor(self) -> int:
        """Not to be waited for: the loop of the process is woken when there is news."""
        return 0

    def send(self, *values: bytes) -> bool:
        """Send the values, and let the answer come."""
        if self._connection.session is None:
            self._connection.closed = True
            raise OperationalError("the connection is closed")
        self._answer = Answer(self._connection.process)
        self._connection.ask(self._statement, _decoded(self._statement, values), self._answer)
        self.is_under_way = True
        return True

    def advance(self) -> bool:
        """Return whether the answer is there."""
        answer = self._answer
        assert answer is not None
        if not answer.is_over:
            return False
        if isinstance(answer.value, OperationalError):
            raise answer.value
        self.is_under_way = False
        return True

    def wait(self) -> None:
        """Return once it is there."""
        assert self._answer is not None
        self._answer.block()
        self.advance()

    @property
    def rows_written(self) -> int:
        return self._result.changed

    @property
    def value(self) -> str | None:
        value = self._result.rows[0][0]
        assert value is None or isinstance(value, str)
        return value

    @property
    def _result(self) -> Result:
        assert self._answer is not None
        if isinstance(self._answer.value, Exception):
            raise self._answer.value
        assert isinstance(self._answer.value, Result)
        return self._answer.value


def _decoded(statement: str, values: Sequence[bytes]) -> Any:
    """Return the values of a prepared statement in the form that the model has for them."""
    if statement == "first_id":
        return (values[0].decode(),)
    *numbers, data = values
    names = ("writer", "session", "number")
    given = zip(names, (int.from_bytes(each, "big", signed=True) for each in numbers), strict=True)
    return {**dict(given), "data": data}


class SimTransaction:
    """A transaction, as `psycopg.Transaction` and as SQLAlchemy's."""

    def __init__(self, connection: SimConnection) -> None:
        self._connection = connection
        self.is_over = False

    def rollback(self) -> None:
        self.is_over = True
        self._connection.call("ROLLBACK", None)


class SimCursor:
    """A cursor, as `psycopg.Cursor`."""

    def __init__(self, connection: SimConnection) -> None:
        self._connection = connection
        self._result = Result(0)

    def execute(self, text: str, values: Any = None) -> SimCursor:
        name, given = _request(text, values)
        if name == "remove_unblock":
            given = [given]
        self._result = self._connection.call(name, given)
        return self

    def executemany(self, text: str, many: Iterable[Sequence[Any]]) -> None:
        self._result = self._connection.call(_request(text, None)[0], list(many))

    @contextmanager
    def copy(self, text: str) -> Iterator[SimCopy]:
        copy = SimCopy()
        yield copy
        self._result = self._connection.call(_NAMES[text], copy.rows)

    @property
    def rowcount(self) -> int:
        return self._result.changed

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._result.rows[0] if self._result.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._result.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._result.rows)

    def __enter__(self) -> SimCursor:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""


class SimCopy:
    """The rows of a COPY."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def set_types(self, _: Sequence[str]) -> None:
        """Do nothing: values stay as they are."""

    def write_row(self, row: Sequence[Any]) -> None:
        self.rows.append(tuple(row))


class SimCore:
    """A connection of SQLAlchemy, as the opening uses it."""

    def __init__(self, connect: Callable[[], SimConnection]) -> None:
        self._connect = connect

    def __enter__(self) -> SimCore:
        self.driver = self._connect()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.driver.close()

    @contextmanager
    def begin(self) -> Iterator[SimTransaction]:
        with self.driver.transaction() as transaction:
            yield transaction


class SimQueries:
    """`Queries`: what a broker asks for in its reads."""

    def __init__(self, _dialect: object, _schema: str, owner: int) -> None:
        self._owner = owner
        self.pending = self.callbacks = self.listeners = ""

    def preload(self, command: TaskPreload) -> dict[str, Any]:
        return {"id": command.id, "owner": self._owner}

    def compiled(self, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "preload", query


def _request(text: str, values: Any) -> tuple[str, Any]:
    """Return the name of a statement, and its values."""
    if text in _NAMES:
        return _NAMES[text], values
    if text.startswith("set local lock_timeout = "):
        return "set lock_timeout", int(text.rpartition(" ")[2])
    if text.startswith("select set_config('application_name'"):
        return "set application_name", values
    return text, values
