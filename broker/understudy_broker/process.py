"""Rules that the processes of brokers and nodes have in common: signals, and tuning of Python."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Final, Self

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Descriptors that a process asks for at most: far more than it uses.
DESCRIPTORS_MAX: Final = 1_048_576

#: Seconds in which a signal that comes again is still the same request: some programs send it to a
#: process, and then to the whole group that it belongs to.
SAME_REQUEST_S: Final = 0.3

#: Seconds until a thread that wants the interpreter lock gets it from one that computes.
_SWITCH_INTERVAL_S: Final = 0.0005
_COLLECTION_THRESHOLDS: Final = (50_000, 20, 50)


def signals_to_handle() -> list[signal.Signals]:
    """Return the signals that are to stop this process in order.

    A terminal that closes sends SIGHUP. It is left alone if it has not its default action: `nohup`
    has it ignored, and an app may have a handler of its own.
    """
    is_default = signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    return [number for number in STOP_SIGNALS if number != signal.SIGHUP or is_default]


def is_repeated(number: int, first: int, after_s: float) -> bool:
    """Return whether a signal is no second request, `after_s` seconds after the latest one.

    Of a terminal that closes, the kernel and the shell both tell, some time apart. Nobody is left
    who could ask for the end twice.

    Parameters
    ----------
    first
        The number of the first signal.
    """
    return number == signal.SIGHUP or (number == first and after_s < SAME_REQUEST_S)


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a request to stop, while the block runs.

    The first signal calls `on_stop`. The second ends the process at once, with the exit code that
    shells use (130 or 143), unless `is_repeated` says that it is none. Handlers run on the main
    thread between two instructions, whatever it does; on any other thread this does nothing,
    because only the main one may set handlers.

    A process that is forked from this one gets the handlers back that were there before. It stops
    nothing, so that a signal has to end it: `multiprocessing` ends its workers in this way.

    Parameters
    ----------
    on_stop
        Called at the first signal, within the handler: it must be short and must not block.
    on_kill
        Called at the second one, before the process ends.

    Attributes
    ----------
    received
        The number of the first signal; 0 before.
    kills
        Whether a second signal ends the process. False if a supervisor may signal it as well as
        somebody else: the supervisor kills it if it takes too long.
    """

    def __init__(
        self, on_stop: Callable[[], None], on_kill: Callable[[], None] | None = None
    ) -> None:
        self.received = 0
        self.kills = True
        self._received_at = 0.0
        self._on_stop = on_stop
        self._on_kill = on_kill
        #: as `signal.signal` has returned them: of any type
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in signals_to_handle():
                self._handlers_before[number] = signal.signal(number, self._handle)
            _active.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _active.discard(self)
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def restore_in_child(self) -> None:
        """Restore the handlers in a process that was just forked, unless they were replaced."""
        for number, handler in self._handlers_before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received:
            after_s = monotonic() - self._received_at
            if is_repeated(number, self.received, after_s) or not self.kills:
                return
            if self._on_kill is not None:
                self._on_kill()
            os._exit(128 + number)
        self.received = number
        self._received_at = monotonic()
        self._on_stop()


#: those whose block runs
_active: weakref.WeakSet[StopSignals] = weakref.WeakSet()


#: the signals that the thread which forks had blocked before
_mask = threading.local()


def _before_fork() -> None:
    # Until the child has its handlers, a signal would be handled like the parent's, or be dropped
    # with what was pending. Blocked, it waits for them.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS) if _active else None


def _after_fork() -> None:
    if _mask.before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _after_fork_in_child() -> None:
    for signals in list(_active):
        signals.restore_in_child()
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


def raise_descriptor_limit() -> int:
    """Raise the number of files and sockets that may be open as far as allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # Some systems allow less than they say. It works as before then.
    return DESCRIPTORS_MAX if soft == resource.RLIM_INFINITY else soft


def tune_switching() -> None:
    """Make Python switch threads sooner, because a loop waits for the lock at each system call."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def tune_collection() -> None:
    """Spare the garbage collector everything that exists now, and let it look less often.

    Called once a process has imported and restored everything, because that stays alive.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
