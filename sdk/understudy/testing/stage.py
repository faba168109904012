"""A stage: broker, store, nodes and a clock in this process, for the runtimes of an application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError
from understudy.runtime import Runtime
from understudy.testing.clock import Clock
from understudy.testing.connection import StageConnection
from understudy.testing.driver import Driver
from understudy.testing.simulator import START_MS, Moment, Simulator
from understudy_broker.clock import before_any_broker
from understudy_store.records import TAG_EXTERNAL

_LOG: Final = logging.getLogger("understudy")


class Stage:
    """A broker, nodes and a clock in memory, on which runtimes are put for a test.

    While the stage is entered (``with Stage(runtime)``), its runtimes need no broker. Their calls
    run here, in the thread that calls or waits, one function at a time and in the same order each
    time. Waiting takes no time: the clock jumps over it. At the end the runtimes are as they were,
    and nothing of the calls is left.

    Parameters
    ----------
    *runtimes : Runtime
        The runtimes to put on the stage. Each becomes a node of its group.
    start : datetime, optional
        What the clock shows first; it needs a time zone. By default 2030-01-01 00:00 UTC.
    kills : mapping of int to Moment, optional
        The checkpoints, by number, at which a node is killed, and in which moment.
        `crash_everywhere` counts the checkpoints of a function and tries all of them.
    log : callable, optional
        Gets each line that a node logs, as a text. By default they go to the logger
        ``understudy``; None discards them.

    Raises
    ------
    ConfigurationError
        A runtime has connected to a broker already (raised on entering), or `start` has no time
        zone.

    Examples
    --------
    >>> from understudy import Runtime
    >>> from understudy.testing import Stage
    >>> runtime = Runtime.local()
    >>> @runtime.register
    ... def remind(ctx, days):
    ...     yield ctx.sleep(days * 24 * 3600)
    ...     return "reminded"
    >>> with Stage(runtime) as stage:
    ...     runtime.rpc("remind-1", remind, 7).result()
    ...     print(stage.clock)
    'reminded'
    <Clock 2030-01-08 00:00:00.000000 UTC>
    """

    def __init__(
        self,
        *runtimes: Runtime,
        start: datetime | None = None,
        kills: Mapping[int, Moment] | None = None,
        log: Callable[[str], None] | None = _LOG.warning,
    ) -> None:
        self._driver = Driver(_start_ms(start), kills, log)
        self._runtimes = runtimes
        #: Sessions on the stage, each with the process that had connected it before.
        self._sessions: list[tuple[ClientSession, int | None]] = []

    @property
    def clock(self) -> Clock:
        """The clock of the stage.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> Stage().clock
        <Clock 2030-01-01 00:00:00.000000 UTC>
        """
        return self._driver.clock

    @property
    def simulator(self) -> Simulator:
        """The simulation behind the stage, with the record of the checkpoints that were passed.

        Examples
        --------
        >>> from understudy import Runtime
        >>> from understudy.testing import Stage
        >>> runtime = Runtime.local()
        >>> @runtime.register
        ... def hello(ctx):
        ...     return "hello"
        >>> with Stage(runtime) as stage:
        ...     runtime.rpc("hello-1", hello).result()
        ...     [checkpoint.description for checkpoint in stage.simulator.checkpoints]
        'hello'
        ['hello hello-1 is handed over', 'the result of hello hello-1']
        """
        return self._driver.simulator

    def __enter__(self) -> Self:
        try:
            for runtime in self._runtimes:
                self.add(runtime)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, runtime: Runtime) -> None:
        """Put one more runtime on the stage.

        Parameters
        ----------
        runtime
            The runtime. It becomes a node of its group; nothing happens if it is on the stage.

        Raises
        ------
        ConfigurationError
            The runtime has connected to a broker already.
        StuckError
            The stage is closed.

        Examples
        --------
        >>> from understudy import Runtime
        >>> from understudy.testing import Stage
        >>> bank = Runtime("bank")
        >>> _ = bank.register(lambda ctx, cents: f"charged {cents}", name="charge")
        >>> with Stage() as stage:
        ...     stage.add(bank)
        ...     bank.rpc("charge-1", "charge", 500).result()
        'charged 500'
        """
        session = runtime.session
        if any(known is session for known, _ in self._sessions):
            return
        if session.started:
            raise ConfigurationError(
                f"{runtime!r} has connected already, so it cannot go on a stage: put it there "
                "before it is used or started, or stop it first"
            )
        # Nothing carries messages to queues here, so its calls go to its group.
        session.forget_task_source()
        with self._driver.driving() as simulator:
            simulator.add_node(session.env, session.name)
            client = simulator.add_client(session.env.group, f"{session.name}-caller")
            simulator.exchange(client)
            while simulator.move():
                pass
        self._sessions.append((session, session.owner))
        session.replace_connection(StageConnection(self._driver, session.env, client))
        # Without an owner, a stop of the runtime during the test leaves the connection in place.
        session.owner = None
        session.env.now_ms = simulator.now_ms

    def deploy(self, runtime: Runtime) -> None:
        """Replace the code of a group, as a deploy does, or the way back from one.

        All nodes of the runtime's group end, and a node with its functions takes their place. What
        they had under way goes on there, or is parked if the code makes other calls.

        Parameters
        ----------
        runtime
            The runtime with the other code. It is put on the stage if it is not there yet.

        Raises
        ------
        ConfigurationError
            The runtime has connected to a broker already.
        StuckError
            The stage is closed.

        Examples
        --------
        >>> from understudy import Runtime
        >>> from understudy.testing import Stage
        >>> def remind(ctx, days):
        ...     yield ctx.sleep(days * 24 * 3600)
        ...     return "reminded"
        >>> def remind_politely(ctx, days):
        ...     yield ctx.sleep(days * 24 * 3600)
        ...     return "kindly reminded"
        >>> old, new = Runtime("shop"), Runtime("shop")
        >>> _ = old.register(remind)
        >>> _ = new.register(remind_politely, name="remind")
        >>> with Stage(old) as stage:
        ...     handle = old.rpc("remind-1", "remind", 7)
        ...     stage.deploy(new)
        ...     handle.result()
        'kindly reminded'
        """
        session = runtime.session
        with self._driver.driving() as simulator:
            for node in simulator.nodes:
                if node.group == session.env.group:
                    simulator.kill(node)
            if any(known is session for known, _ in self._sessions):
                simulator.add_node(session.env, session.name)
        self.add(runtime)
        self.rest()

    def close(self) -> None:
        """Give the runtimes back as they were, and close the functions that still wait.

        Leaving the ``with`` block calls it; a second call does nothing.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> stage = Stage()
        >>> stage.clock.advance(3600)
        >>> stage.close()
        """
        if self._driver.closed:
            return
        for session, owner in self._sessions:
            session.replace_connection(None)
            session.owner = owner
            session.serving = False
            session.env.now_ms = before_any_broker
            session.env.registry.on_register = None
        self._sessions.clear()
        self._driver.close()

    def rest(self) -> None:
        """Let everything happen that needs no time to pass.

        Calls do so by themselves; it is for tests that settle promises or change dependencies.

        Raises
        ------
        StuckError
            The stage is closed.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> with Stage() as stage:
        ...     stage.rest()
        """
        self._driver.rest()

    def skip(self) -> bool:
        """Jump to the next moment at which something is due, and let everything happen then.

        Returns
        -------
        bool
            False if nothing is due, ever; then the clock stands still.

        Raises
        ------
        StuckError
            A call waits for a group without nodes, or the stage is closed.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> with Stage() as stage:
        ...     stage.skip()
        False
        """
        return self._driver.skip()

    def external(self) -> list[str]:
        """List the promises that wait to be settled from outside (`Context.promise`).

        Returns
        -------
        list of str
            Their ids, the oldest first.

        Raises
        ------
        StuckError
            The stage is closed.

        Examples
        --------
        >>> from understudy import Runtime
        >>> from understudy.testing import Stage
        >>> runtime = Runtime.local()
        >>> @runtime.register
        ... def ask(ctx):
        ...     answer = yield ctx.promise()
        ...     return (yield answer)
        >>> with Stage(runtime) as stage:
        ...     handle = runtime.rpc("ask-1", ask)
        ...     stage.external()
        ...     _ = runtime.promises.resolve("ask-1.1", "yes")
        ...     handle.result()
        ['ask-1.1']
        'yes'
        """
        with self._driver.driving() as simulator:
            found = [
                record
                for record in simulator.broker.core.machine.view.records()
                if record.tags.get(TAG_EXTERNAL) == "true" and not record.settled
            ]
            return [record.id for record in sorted(found, key=lambda record: record.created_at)]


def _start_ms(start: datetime | None) -> int:
    if start is None:
        return START_MS
    if start.tzinfo is None:
        raise ConfigurationError(f"start={start!r} has no time zone: add tzinfo=UTC")
    return int(start.timestamp() * 1000)
