"""A stage: broker, store, nodes and a clock in this process, for an application's runtimes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from understudy.client.clock import now_ms
from understudy.client.session import ClientSession
from understudy.errors import ConfigurationError, UnderstudyError
from understudy.runtime import Runtime
from understudy.testing.clock import Clock
from understudy.testing.components import Peer
from understudy.testing.connection import StageConnection, off_loop
from understudy.testing.simulator import START_MS, Moment, Simulator
from understudy_store.records import TAG_EXTERNAL

_LOG: Final = logging.getLogger("understudy")

#: seconds to wait for a function in another thread, which no clock here can hurry
PATIENCE_S: Final = 60.0


class StuckError(UnderstudyError):
    """A caller waits on a stage for something that cannot happen; the message says why."""


class Stage:
    """A broker in memory for the runtimes of a test, with a clock that skips waiting.

    Inside ``with Stage(...)`` the runtimes need no other broker: functions run in the thread that
    calls or waits, one at a time, in the same order each time. Functions and dependencies are those
    of the runtimes; nothing is left behind at the end.

    Parameters
    ----------
    *runtimes : Runtime
        The runtimes; each becomes a node of its group.
    start : datetime, optional
        The time at which the clock begins; by default the first of January 2030, 00:00 UTC.
    kills : mapping of int to Moment, optional
        The checkpoints at which a node dies, and in which way; `crash_everywhere` makes it.
    log : function, optional
        Takes the lines that a node logs; None drops them. By default they are logged as warnings.

    Attributes
    ----------
    clock : Clock
        The time on the stage.

    Raises
    ------
    ConfigurationError
        A runtime has connected to a broker already, or `start` has no time zone.

    Examples
    --------
    >>> runtime = Runtime("shop")
    >>> @runtime.register
    ... def remind(ctx, days):
    ...     yield ctx.sleep(days * 24 * 3600)
    ...     return "it is time"
    >>> with Stage(runtime):
    ...     runtime.rpc("remind-1", remind, 7).result()
    'it is time'
    """

    def __init__(
        self,
        *runtimes: Runtime,
        start: datetime | None = None,
        kills: Mapping[int, Moment] | None = None,
        log: Callable[[str], None] | None = _LOG.warning,
    ) -> None:
        self.world = Simulator(kills=kills, start_ms=_start_ms(start), log=log)
        self.clock = Clock(self.world.now_ms, self._advance_to)
        self._waiting = runtimes
        #: with the process that had connected it before
        self._on_stage: list[tuple[ClientSession, int | None]] = []
        self._closed = False

    def __enter__(self) -> Self:
        try:
            for runtime in self._waiting:
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
        runtime : Runtime
            The runtime; it becomes a node of its group.

        Raises
        ------
        ConfigurationError
            It has connected to a broker already.

        Examples
        --------
        >>> shop, bank = Runtime("shop"), Runtime("bank")
        >>> charge = bank.register(lambda ctx, amount: f"charged {amount}", name="charge")
        >>> with Stage(shop) as stage:
        ...     stage.add(bank)
        ...     shop.options(target="bank").rpc("charge-1", "charge", 120).result()
        'charged 120'
        """
        shared = runtime.session
        if any(known is shared for known, _ in self._on_stage):
            return
        if shared.started:
            raise ConfigurationError(
                f"{runtime!r} has connected already, so it cannot go on a stage: put it there "
                "before it is used or started, or stop it first"
            )
        with self._locked() as world:
            world.add_node(shared.env, shared.name)
            client = world.add_client(shared.env.group, f"{shared.name}-caller")
            world.exchange(client)
            while world.turn():
                pass
        self._on_stage.append((shared, shared.owner))
        shared.replace_connection(StageConnection(self, shared.env, client))
        # so that a stop during the test leaves the connection as it is
        shared.owner = None
        shared.env.now_ms = world.now_ms

    def close(self) -> None:
        """Give the runtimes back as they were, and close functions that still wait.

        The end of ``with Stage(...)`` does it.

        Examples
        --------
        >>> stage = Stage(Runtime("shop"))
        >>> stage.close()
        """
        if self._closed:
            return
        self._closed = True
        for shared, owner in self._on_stage:
            shared.replace_connection(None)
            shared.owner = owner
            shared.serving = False
            shared.env.now_ms = now_ms
        self._on_stage.clear()
        self.world.close()

    # What connections ask ------------------------------------------------------------------------

    def post(self, client: Peer, function: Callable[..., None], *args: Any) -> None:
        """Let a connection say something; then all happens that can before time goes on."""

        def say() -> None:
            with self._locked() as world:
                function(*args)
                world.exchange(client)
                # what a function itself calls has its turn when that waits or ends
                while threading.get_ident() not in world.inside and world.turn():
                    pass

        self._off_loop(say)

    def wait_for(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Turn until `done`; time goes on when there is nothing else.

        Raises
        ------
        TimeoutError
            `timeout` seconds of the stage's clock have passed.
        StuckError
            Nothing can happen any more, or nobody is there to do it.
        """
        until = None if timeout is None else self.world.now + int(timeout * 1000)
        self._off_loop(lambda: self._wait_for(done, until))

    def wait_on_loop(self, done: Callable[[], bool]) -> None:
        """As `wait_for`, for a caller on an event loop, who waits there for what is not yet."""
        with self.world.lock:
            if threading.get_ident() in self.world.loops:
                # a function awaits it; whoever turns the world goes on with the rest meanwhile
                self.world.wanted.append(done)
                self.world.lock.notify_all()
                return

        def turn() -> None:
            with self._locked() as world:
                while not done():
                    if world.turn():
                        continue
                    if world.occupied() or not self.clock.skips:
                        return
                    self._check_served()
                    if not self._skip(None):
                        return

        self._off_loop(turn)

    # Time ----------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Let everything happen that can happen without the clock moving.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> sent = []
        >>> @runtime.register
        ... def notify(ctx):
        ...     yield ctx.run(lambda ctx: sent.append("mail"))
        >>> with Stage(runtime) as stage:
        ...     handle = runtime.rpc("notify-1", notify)
        ...     stage.rest()
        >>> sent
        ['mail']
        """

        def turn() -> None:
            with self._locked() as world:
                while world.turn():
                    pass

        self._off_loop(turn)

    def skip(self) -> bool:
        """Move the clock to the next moment at which something is due, and let it happen.

        Returns
        -------
        bool
            False if nothing is due at any time.

        Raises
        ------
        StuckError
            A call waits for a group that has no node here.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> @runtime.register
        ... def remind(ctx):
        ...     yield ctx.sleep(60)
        >>> with Stage(runtime) as stage:
        ...     handle = runtime.rpc("remind-1", remind)
        ...     stage.skip(), handle.done()
        (True, True)
        """
        with self._locked():
            self._check_served()
            if not self._skip(None):
                return False
        self.rest()
        return True

    def external(self) -> list[str]:
        """List the pending promises that are settled from outside.

        Returns
        -------
        list of str
            Their ids, the oldest first.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> @runtime.register
        ... def publish(ctx):
        ...     approval = yield ctx.promise()
        ...     return (yield approval)
        >>> with Stage(runtime) as stage:
        ...     handle = runtime.rpc("publish-1", publish)
        ...     (approval,) = stage.external()
        ...     settled = runtime.promises.resolve(approval, "yes")
        ...     handle.result()
        'yes'
        """
        with self._locked() as world:
            found = [
                record
                for record in world.broker.core.machine.view.records()
                if record.tags.get(TAG_EXTERNAL) == "true" and not record.settled
            ]
            return [record.id for record in sorted(found, key=lambda record: record.created_at)]

    def _advance_to(self, at: int) -> None:
        def advance() -> None:
            with self._locked() as world:
                while world.turn() or self._skip(at):
                    pass
                world.now = max(world.now, at)
                while world.turn():
                    pass

        self._off_loop(advance)

    def _wait_for(self, done: Callable[[], bool], until: int | None) -> None:
        with self._locked() as world:
            while not done():
                if world.turn():
                    continue
                if world.occupied():
                    if not world.lock.wait(PATIENCE_S):
                        raise StuckError(f"a function has been running for {PATIENCE_S:g} s")
                    continue
                if not self.clock.skips and (until is None or until > world.now):
                    raise StuckError(
                        "everything waits for time, and clock.skips is off: call clock.advance "
                        f"first\n{self._pending()}"
                    )
                self._check_served()
                if self._skip(until):
                    continue
                if until is None:
                    raise StuckError(f"nothing can happen any more\n{self._pending()}")
                world.now = max(world.now, until)
                while world.turn():
                    pass
                if not done():
                    raise TimeoutError

    def _skip(self, until: int | None) -> bool:
        """Go on to when something is due, if that is not after `until`."""
        world = self.world
        due = world.next_due()
        if due is None or (until is not None and due > until):
            return False
        world.now = max(world.now, due)
        return True

    def _off_loop(self, function: Callable[[], None]) -> None:
        if threading.get_ident() in self.world.loops:
            function()
        else:
            off_loop(function)

    # Words ---------------------------------------------------------------------------------------

    def _check_served(self) -> None:
        """A group that nobody serves would be waited for until the deadline."""
        for group in self.world.broker.core.dispatcher.statistics().groups:
            if group.queued and not group.nodes:
                served = ", ".join(sorted({node.group for node in self.world.nodes})) or "none"
                wait = "1 call waits" if group.queued == 1 else f"{group.queued} calls wait"
                raise StuckError(
                    f"{wait} for a node of group {group.name!r}, which nobody "
                    f"serves here (served: {served}). Give the stage, or crash_everywhere.on, the "
                    f"runtime that does, or one with stand-ins: Runtime(group={group.name!r})\n"
                    f"{self._pending()}"
                )

    def _pending(self) -> str:
        """What is not settled, one line each."""
        records = self.world.broker.core.machine.view.records()
        pending = sorted(record.id for record in records if not record.settled)
        lines = [f"  {id_}" for id_ in pending[:20]]
        if len(pending) > 20:
            lines.append(f"  and {len(pending) - 20} more")
        return "pending:\n" + "\n".join(lines) if lines else "nothing is pending"

    @contextmanager
    def _locked(self) -> Iterator[Simulator]:
        """This thread turns the world; where it is inside a function, that one waits."""
        world, thread = self.world, threading.get_ident()
        with world.lock:
            if self._closed:
                raise StuckError("this stage is closed")
            world.turning.append(thread)
            try:
                yield world
            finally:
                world.turning.remove(thread)
                world.lock.notify_all()


def _start_ms(start: datetime | None) -> int:
    if start is None:
        return START_MS
    if start.tzinfo is None:
        raise ConfigurationError(f"start={start!r} has no time zone: add tzinfo=UTC")
    return int(start.timestamp() * 1000)
