"""The broker as a program: logging, signals, one line at the start, exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Final

import trio

from understudy_broker.errors import BrokerError
from understudy_broker.server.logs import make_log
from understudy_broker.server.server import Log, serve
from understudy_broker.server.settings import BrokerSettings
from understudy_store.errors import StoreError
from understudy_store.store import Store, open_store

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_broker(settings: BrokerSettings) -> int:
    """Be a broker until a signal comes; on the main thread.

    The first SIGINT or SIGTERM stops it in order: what was taken in is committed and answered, and
    peers are told. The second exits at once.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if it could not start or had to stop. A second signal
    ends the process with 130 (SIGINT) or 143 (SIGTERM).
    """
    # Nothing of a large store that is being opened is garbage.
    gc.disable()
    for_people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    log = make_log(sys.stderr, for_people=for_people, level=settings.log_level)
    stopper = _Stopper()
    before = {number: signal.signal(number, stopper.on_signal) for number in _SIGNALS}
    try:
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
        for number, handler in before.items():
            signal.signal(number, handler)
    return EXIT_OK


class _Stopper:
    """Turns signals into a stop. The handler runs whatever the loop does."""

    def __init__(self) -> None:
        self._asked = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._event: trio.Event | None = None

    def attach(self) -> trio.Event:
        """From within the loop: the event that is set at the first signal."""
        self._event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        if self._asked:
            self._event.set()
        return self._event

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        self._asked = True
        if self._token is not None and self._event is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._event.set)


async def _main(settings: BrokerSettings, store: Store, stopper: _Stopper, log: Log) -> None:
    if settings.open_to_others:
        text = (
            f"{settings.listen} can be reached by other machines, and there is no authentication: "
            "whoever reaches it can call, read and cancel everything"
        )
        log("warning", text, {})

    def started(endpoint: str) -> None:
        text = (
            f"understudy broker {_version()} listening on {endpoint}, "
            f"store {store.description}, process {os.getpid()}"
        )
        log("info", text, {})
        # What was imported and restored stays: the collector need not look at it, nor look so often
        # at the live set.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()

    # Every call that lets go of the interpreter's lock may have to wait this long for the writer.
    sys.setswitchinterval(0.0005)
    await serve(
        store,
        settings.broker_config(),
        settings.listen,
        stop=stopper.attach(),
        log=log,
        on_started=started,
    )


def _version() -> str:
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "(not installed)"
