"""The broker as a program: its log, signals, first line and exit code."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple, TypeAlias

import trio
import zmq
from msgspec.structs import replace

from understudy_broker.audit.audit_file import AuditFile
from understudy_broker.clock import question
from understudy_broker.core.config import BrokerConfig
from understudy_broker.deployment import is_database, share_of
from understudy_broker.errors import AddressInUseError, BrokerError
from understudy_broker.log_format import LogSettingError, chosen_format, chosen_level
from understudy_broker.monitoring.loop_probe import turns
from understudy_broker.monitoring.service_manager import ServiceManager, take_service_manager
from understudy_broker.process import (
    StopSignals,
    raise_descriptor_limit,
    tune_collection,
    tune_switching,
)
from understudy_broker.protocol.frames import FrameLimits
from understudy_broker.server.founding import ask_others
from understudy_broker.server.keys import BrokerKeys
from understudy_broker.server.logs import Log, make_log
from understudy_broker.server.placement import KEY, from_text, runs_text, to_text
from understudy_broker.server.reloads import Hangups
from understudy_broker.server.served import mark_served
from understudy_broker.server.server import insecure_text, serve
from understudy_broker.server.settings import BrokerSettings, SettingsError
from understudy_broker.server.start import at_start, is_sole
from understudy_broker.transport.loop_lock import LoopThread
from understudy_broker.transport.zeromq_router import bind_router
from understudy_store.engines.base import Opening
from understudy_store.errors import OpeningStoppedError, StoreError
from understudy_store.store import Store, open_store

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
#: descriptors for everything but peers, and for connections that are being refused or have said
#: nothing so far: so many, or this part of all
DESCRIPTORS_SPARE: Final = 32
DESCRIPTORS_SPARE_PART: Final = 8
#: how long an address that is in use is waited for, and how often it is tried
ADDRESS_S: Final = 12.0
POLL_ADDRESS_S: Final = 0.25
#: how often a doubtful clock is looked at before the start, and how often the log says so
POLL_CLOCK_S: Final = 1.0
REPEAT_S: Final = 60.0


#: Given a function that stops the broker, watches for the supervisor's wish that it stops; returns
#: how to ask the supervisor for that, or None if there is no supervisor.
WatchSupervisor: TypeAlias = Callable[[Callable[[], None]], Callable[[], None] | None]


def run_broker(
    settings: BrokerSettings,
    watch: WatchSupervisor | None = None,
    on_listening: Callable[[str], None] = lambda _: None,
) -> int:
    """Run a broker until a signal comes; must be called on the main thread.

    The first SIGINT, SIGTERM or SIGHUP stops it in order: what was performed is committed and
    answered, and peers are told. A second SIGINT or SIGTERM ends the process at once.

    Under a supervisor (`watch`), a signal only asks the supervisor: if all processes are to stop,
    this broker is the last, because nodes that finish their calls need it. `on_listening` is told
    the address once peers can connect.

    Returns
    -------
    The exit code: 0 after a stop in order, 1 if it could not start or had to stop. A second signal
    ends the process with 130 (SIGINT) or 143 (SIGTERM).
    """
    # A large store that is being opened contains no garbage, so the collector would look in vain.
    gc.disable()
    log = log_of(settings)
    manager = take_service_manager()
    stopper = _Stopper()
    # Whatever the user's own mask is: stores, journals, sockets and the audit are for nobody else.
    mask = os.umask(0o077)
    hangups = None if settings.keys is None else Hangups()
    audit: AuditFile | None = None
    try:
        with hangups or nullcontext(), StopSignals(stopper.signaled) as signals:
            _check_user(settings)
            keys = None if settings.keys is None else BrokerKeys(settings.keys)
            if settings.audit is not None:
                audit = AuditFile(settings.audit, settings.audit_bytes_max)
            if watch is not None:
                stopper.ask = watch(stopper.request)
                signals.kills = stopper.ask is None
            if stopper.ask is None:
                stopper.manager = manager
            share = share_of(settings.broker_config(), settings.store)
            if share is not None:
                _wait_for_address(settings.listen, stopper, log)
            store = open_store(
                settings.store,
                Opening(
                    settings.accept_lost_journal,
                    lambda text: log("warning", text, {}),
                    lambda: stopper.requested,
                    share,
                ),
            )
            try:
                guards = _Guards(keys, hangups, audit)
                trio.run(_main, settings, store, guards, stopper, log, on_listening)
            finally:
                store.close()
    except OpeningStoppedError as stopped:
        log("info", f"understudy broker: {stopped}", {})
    except (BrokerError, StoreError) as error:
        log("error", f"understudy broker: {error}", {})
        return EXIT_FAILED
    finally:
        if audit is not None:
            audit.close()
        os.umask(mask)
        gc.enable()
    return EXIT_OK


def _check_user(settings: BrokerSettings) -> None:
    if settings.open_to_others and os.geteuid() == 0 and not settings.allow_root:
        raise SettingsError(
            f"other machines can reach {settings.listen}, and this process is root: whoever finds "
            "a fault in the broker would have this machine. Run it as a user of its own, or say "
            "--allow-root, as in a container with nothing else in it"
        )


class _Guards(NamedTuple):
    """The keys of a broker and the file of its audit; None: it has none."""

    keys: BrokerKeys | None
    hangups: Hangups | None
    audit: AuditFile | None


def log_of(settings: BrokerSettings) -> Log:
    """Return the log of a broker with these settings, on standard error."""
    form: str | None = settings.log_format
    is_own_level = "log_level" in settings.model_fields_set
    try:
        if form == "auto":
            form = chosen_format() or ("text" if sys.stderr.isatty() else "json")
        level = settings.log_level if is_own_level else chosen_level() or settings.log_level
    except LogSettingError as error:
        raise SettingsError(str(error)) from None
    return make_log(sys.stderr, for_people=form != "json", level=level)


class _Stopper:
    """An event of the loop that a signal handler sets, whatever the loop does at that moment.

    Attributes
    ----------
    requested
        True from the request on, also before there is a loop.
    manager
        The service manager, which is told; one that does nothing if there is a supervisor.
    """

    def __init__(self) -> None:
        self.requested = False
        self._loop: LoopThread | None = None
        self._event: trio.Event | None = None
        self.manager = ServiceManager()
        #: asks the supervisor to stop this broker; None: there is no supervisor
        self.ask: Callable[[], None] | None = None

    def signaled(self) -> None:
        """Stop, or ask the supervisor to; called by a signal handler."""
        if self.ask is None:
            self.request()
        else:
            self.ask()

    def attach(self) -> trio.Event:
        """Return the event; called on the loop."""
        self._event = trio.Event()
        self._loop = LoopThread()
        if self.requested:
            self._event.set()
        return self._event

    def request(self) -> None:
        """Set the event soon; called by any thread, also before there is a loop."""
        if not self.requested:
            self.manager.stopping()
        self.requested = True
        if self._loop is not None and self._event is not None:
            self._loop.run_soon(self._event.set)


def _wait_for_address(listen: str, stopper: _Stopper, log: Log) -> None:
    """Return when the broker can listen at its address.

    A broker that has joined the others is given slots at once. If it ended then, again and again,
    because it cannot listen, their calls would wait each time.

    Raises
    ------
    AddressInUseError
        It cannot, although whatever has the address, most often an earlier start of the same
        broker, was given time to end.
    ListenError
        The address is not this machine's, or is no address: waiting would not help.
    OpeningStoppedError
        The broker was told to stop.
    """
    give_up_at = time.monotonic() + ADDRESS_S
    has_said_so = False
    while not stopper.requested:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            bind_router(context, listen, FrameLimits().frame_bytes_max).close(0)
            return
        except AddressInUseError as error:
            if time.monotonic() >= give_up_at:
                raise
            if not has_said_so:
                has_said_so = True
                log("warning", f"{error}. Waiting {ADDRESS_S:g} s for it to become free", {})
        finally:
            context.term()
        time.sleep(POLL_ADDRESS_S)
    raise OpeningStoppedError(f"it did not begin: {listen} was in use")


async def _wait_for_clock(
    settings: BrokerSettings, store: Store, stop: trio.Event, log: Log
) -> None:
    """Return when the wall clock is not to be doubted any more, or at the stop.

    The process waits instead of ending, because clocks are often set within a minute after a boot,
    and a service that ends a few times in that minute is given up by the system.
    """
    repeat_at = 0.0
    while not stop.is_set():
        wall_ns = time.time_ns() if store.share is None else store.share.wall_ns()
        text = question(store.snapshot, settings.accept_clock, wall_ns // 1_000_000)
        if text is None:
            return
        if trio.current_time() >= repeat_at:
            repeat_at = trio.current_time() + REPEAT_S
            log("error", f"not started: {text}. Until then the broker waits", {})
        with trio.move_on_after(POLL_CLOCK_S):
            await stop.wait()


async def _main(
    settings: BrokerSettings,
    store: Store,
    guards: _Guards,
    stopper: _Stopper,
    log: Log,
    on_listening: Callable[[str], None],
) -> None:
    keys = guards.keys
    is_insecure = settings.open_to_others and keys is None
    if is_insecure:
        log("warning", insecure_text(settings.listen), {})

    read = "" if settings.file is None else f", settings of {settings.file.resolve()}"

    def on_started(address: str) -> None:
        text = (
            f"understudy broker {_version()}{' (as root)' if os.geteuid() == 0 else ''} "
            f"listening on {address}, store {store.description}{read}, process {os.getpid()}"
        )
        if config.slots is not None:
            text += f", broker {config.name}"
            if config.deployment:
                text += f" of the deployment {config.deployment}"
        if keys is not None:
            text += f", keys of {settings.keys}"
        log("info", text, {})
        stopper.manager.ready(f"listening on {address}")
        stopper.manager.beat_while(partial(turns, LoopThread()))
        on_listening(address)
        tune_collection()
        gc.enable()

    tune_switching()
    stop = stopper.attach()
    await _wait_for_clock(settings, store, stop, log)
    if stop.is_set():
        return
    placed = await _placed(settings, store, keys, stop, log)
    if placed is None:
        return
    config = replace(placed, is_insecure=is_insecure)
    await serve(
        store,
        _within_descriptors(config, log),
        settings.listen,
        ipc_mode=int(settings.ipc_mode, 8),
        stop=stop,
        log=log,
        accepted_clock=settings.accept_clock,
        keys=keys,
        hangups=guards.hangups,
        audit=guards.audit,
        audit_required=settings.audit_required,
        metrics=settings.metrics_place,
        metrics_required=settings.metrics is not None,
        on_started=on_started,
    )


async def _placed(
    settings: BrokerSettings,
    store: Store,
    keys: BrokerKeys | None,
    stop: trio.Event,
    log: Log,
) -> BrokerConfig | None:
    """Return the configuration with the slots that are this broker's; None at a stop."""
    config, wanted = settings.broker_config(), settings.wanted()
    if not is_database(settings.store):
        mark_served(store)
    stored = from_text(store.fact(KEY), store.description)
    if store.share is not None:
        return replace(config, deployment=config.deployment or store.share.identity)
    if is_sole(wanted, stored) or is_database(settings.store):
        return config
    placement = at_start(wanted, stored, is_empty=not store.snapshot.now)
    if placement is None:
        placement = await ask_others(wanted, stored, settings.listen, log, stop, keys)
        if placement is None:
            return None
    if placement != stored:
        store.put_fact(KEY, to_text(placement))
    if placement.leaving:
        text = "slots are leaving this broker; until the move is completed, their calls wait"
        ways = {way.to for way in placement.leaving.values()}
        log("warning", text, {"slots": runs_text(sorted(placement.leaving)), "to": sorted(ways)})
    store.keep_only(placement.own)
    return replace(
        config,
        deployment=placement.deployment,
        slots=placement.slots(wanted.addresses),
        slots_are_stored=True,
    )


def _within_descriptors(config: BrokerConfig, log: Log) -> BrokerConfig:
    """Refuse peers, in words, before the descriptors run out."""
    limit = raise_descriptor_limit()
    try:
        used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number is wanted
    except OSError:
        used = DESCRIPTORS_SPARE
    spare = max(DESCRIPTORS_SPARE, limit // DESCRIPTORS_SPARE_PART)
    connections_max = max(1, limit - used - spare)
    if config.peers_max <= connections_max:
        return replace(config, connections_max=connections_max)
    text = (
        f"{connections_max:,} peers may connect instead of {config.peers_max:,} (peers_max), half "
        f"as many if they are nodes, because this process may have {limit:,} open files: raise "
        "that limit (ulimit -n, LimitNOFILE)"
    )
    log("warning", text, {})
    return replace(config, connections_max=connections_max, peers_max=connections_max)


def _version() -> str:
    try:
        return version("understudy")
    except PackageNotFoundError:
        return "(not installed)"
