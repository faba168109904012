"""A broker in a thread of this process, for programs that need no other machine, and for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Final

import trio
import zmq

from understudy_broker.clock import question
from understudy_broker.core.config import BrokerConfig
from understudy_broker.deployment import share_of
from understudy_broker.errors import BrokerStartError, ClockError
from understudy_broker.server.logs import Log, log_to_logging
from understudy_broker.server.server import serve
from understudy_store.changes import Snapshot
from understudy_store.engines.base import Opening
from understudy_store.store import Store, open_store

START_S: Final = 30.0
STOP_S: Final = 15.0
#: The variable by which a program that embeds a broker is told which date it is.
ACCEPT_CLOCK_ENV: Final = "UNDERSTUDY_BROKER__ACCEPT_CLOCK"


class EmbeddedBroker:
    """A broker with a thread and a trio loop of its own.

    Parameters
    ----------
    store
        As for `open_store`.
    listen
        ``inproc://name`` together with `context`, or ``tcp://127.0.0.1:0`` for any free port.
    on_failure
        Called on the broker's thread if it ends by itself, because a store failed: peers of an
        inproc broker would otherwise notice only its silence.
    accepted_clock
        The date that a person has confirmed, if the wall clock is far from the store's time.
    check_store
        Called with the open store before anything is served; what it raises prevents the start.
    """

    def __init__(
        self,
        store: str = "memory",
        listen: str = "tcp://127.0.0.1:0",
        *,
        config: BrokerConfig | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        log: Log = log_to_logging,
        on_failure: Callable[[BaseException], None] | None = None,
        accepted_clock: date | None = None,
        check_store: Callable[[Store], None] | None = None,
    ) -> None:
        self._store_url = store
        self._listen = listen
        self._config = config or BrokerConfig(name="embedded")
        self._context = context
        self._log = log
        self._on_failure = on_failure
        self._accepted_clock = accepted_clock
        self._check_store = check_store
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._stop: trio.Event | None = None
        self._thread: threading.Thread | None = None
        self._address: str | None = None
        #: the reason why the broker ended by itself or did not start; None: neither
        self.error: BaseException | None = None

    def __enter__(self) -> EmbeddedBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The address at which it listens; known after `start`."""
        if self._address is None:
            raise BrokerStartError("the embedded broker has not been started")
        return self._address

    @property
    def running(self) -> bool:
        """True while its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> str:
        """Start, wait until it listens, and return the address.

        Raises
        ------
        ListenError, StoreError
            The address or the store prevented the start.
        ClockError
            The wall clock is far beyond the store's time, and `accepted_clock` does not confirm it.
        BrokerStartError
            The broker was started before, or did not come up in time.
        """
        if self._thread is not None:
            raise BrokerStartError("this embedded broker was started before: make a new one")
        thread = threading.Thread(target=self._run, name="understudy-broker", daemon=True)
        self._thread = thread
        thread.start()
        if not self._ready.wait(START_S):
            raise BrokerStartError(f"the embedded broker did not start within {START_S:.0f} s")
        if self._address is None:
            thread.join(STOP_S)
            raise self.error or BrokerStartError("the embedded broker ended while starting")
        return self._address

    def stop(self) -> None:
        """Stop in order, and wait for that a bounded time. A second call does nothing."""
        if self._thread is None or self._thread is threading.current_thread():
            return
        if self._token is not None and self._stop is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._stop.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self.error = error
            if self._address is not None and self._on_failure is not None:
                self._on_failure(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        opening = Opening(
            tell=lambda text: self._log("warning", text, {}),
            share=share_of(self._config, self._store_url),
        )
        store = open_store(self._store_url, opening)
        try:
            if self._check_store is not None:
                self._check_store(store)
            if store.snapshot.now:
                self._check_clock(store.snapshot)
            await serve(
                store,
                self._config,
                self._listen,
                context=self._context,
                stop=self._stop,
                log=self._log,
                accepted_clock=self._accepted_clock,
                on_started=self._started,
            )
        finally:
            store.close()

    def _check_clock(self, snapshot: Snapshot) -> None:
        text = question(snapshot, self._accepted_clock, time.time_ns() // 1_000_000)
        if text is not None:
            raise ClockError(f"{text} (or set {ACCEPT_CLOCK_ENV} to that date)")

    def _started(self, address: str) -> None:
        self._address = address
        self._ready.set()
