"""The broker as a program: its log, signals, first line and exit code."""

from __future__ import annotations

import gc
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import trio

from understudy_broker.errors import BrokerError
from understudy_broker.process import StopSignals, tune_collection, tune_switching
from understudy_broker.server.logs import Log, make_log
from understudy_broker.server.server import serve
from understudy_broker.server.settings import BrokerSettings
from understudy_broker.transport.loop_lock import LoopThread
from understudy_store.errors import StoreError
from understudy_store.store import Store, open_store

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1


def run_broker(settings: BrokerSettings) -> int:
    """Run a broker until a signal comes; must be called on the main thread.

    The first SIGINT or SIGTERM stops it in order: what was performed is committed and answered, and
    peers are told. The second ends the process at once.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if it could not start or had to stop. A second signal
    ends the process with 130 (SIGINT) or 143 (SIGTERM).
    """
    # A large store that is being opened contains no garbage, so the collector would look in vain.
    gc.disable()
    for_people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    log = make_log(sys.stderr, for_people=for_people, level=settings.log_level)
    stopper = _Stopper()
    try:
        with StopSignals(stopper.request):
            store = open_store(settings.store)
            try:
                trio.run(_main, settings, store, stopper, log)
            finally:
                store.close()
    except (BrokerError, StoreError) as error:
        log("error", f"understudy broker: {error}", {})
        return EXIT_FAILED
    finally:
        gc.enable()
    return EXIT_OK


class _Stopper:
    """An event of the loop that a signal handler sets, whatever the loop does at that moment."""

    def __init__(self) -> None:
        self._requested = False
        self._loop: LoopThread | None = None
        self._event: trio.Event | None = None

    def attach(self) -> trio.Event:
        """Return the event; called on the loop."""
        self._event = trio.Event()
        self._loop = LoopThread()
        if self._requested:
            self._event.set()
        return self._event

    def request(self) -> None:
        """Set the event soon; called by a signal handler, also before there is a loop."""
        self._requested = True
        if self._loop is not None and self._event is not None:
            self._loop.run_soon(self._event.set)


async def _main(settings: BrokerSettings, store: Store, stopper: _Stopper, log: Log) -> None:
    if settings.open_to_others:
        text = (
            f"{settings.listen} can be reached by other machines, and there is no authentication: "
            "anyone who can reach it can call, read and cancel everything"
        )
        log("warning", text, {})

    def on_started(address: str) -> None:
        text = (
            f"understudy broker {_version()} listening on {address}, "
            f"store {store.description}, process {os.getpid()}"
        )
        log("info", text, {})
        tune_collection()
        gc.enable()

    tune_switching()
    await serve(
        store,
        settings.broker_config(),
        settings.listen,
        stop=stopper.attach(),
        log=log,
        on_started=on_started,
    )


def _version() -> str:
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "(not installed)"
