"""Messages to systemd, or another service manager: the protocol of ``sd_notify``.

A manager that wants to be told names a socket in the environment (`SOCKET_ENV`), and may ask for a
beat (`INTERVAL_ENV`), without which it takes the program for stuck and starts it again. Nothing
here needs a library: a message is one datagram.

Whatever fails here, the program goes on. It would be wrong to end it because of its manager.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, MutableMapping
from typing import Final

SOCKET_ENV: Final = "NOTIFY_SOCKET"
INTERVAL_ENV: Final = "WATCHDOG_USEC"
PID_ENV: Final = "WATCHDOG_PID"

#: beats in the time that the manager waits for one: a busy program may miss some
_BEATS: Final = 4
#: how long a manager that does not read its socket is waited for
_SEND_S: Final = 0.5

_LOG: Final = logging.getLogger("understudy.monitoring")


class ServiceManager:
    """Tells the service manager how this program is; without one, its methods do nothing.

    Parameters
    ----------
    address
        The path of its socket; ``@`` before it means the abstract namespace of Linux.
    watchdog_s
        How long it waits for a beat; None: it wants none.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s
        self._is_ready = False
        self._has_failed = False

    def ready(self, status: str) -> None:
        """Say that the program serves, with a line for people; only the first call has an effect.

        Any thread may call it.
        """
        if not self._is_ready:
            self._is_ready = True
            self._tell("READY=1", f"STATUS={' '.join(status.split())}")

    def stopping(self) -> None:
        """Say that the program is about to end; a signal handler may call it."""
        self._tell("STOPPING=1", "STATUS=stopping")

    def beat_while(self, turns: Callable[[], bool]) -> None:
        """Beat from now on, on a thread of its own, whenever `turns` is true; if that is wanted.

        Parameters
        ----------
        turns
            Returns whether the program's loops turn. It is called on that thread, and may block.
        """
        if self._address is not None and self._watchdog_s is not None:
            threading.Thread(
                target=self._beat,
                args=(turns, self._watchdog_s / _BEATS),
                name="understudy-watchdog",
                daemon=True,
            ).start()

    def _beat(self, turns: Callable[[], bool], interval_s: float) -> None:
        never = threading.Event()
        while not never.wait(interval_s):
            if turns():
                self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        path = self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SEND_S)
                sock.sendto("\n".join(lines).encode(), f"\0{path[1:]}" if path[0] == "@" else path)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                _LOG.warning("the service manager cannot be told (%s): %s", SOCKET_ENV, error)


def take_service_manager(environ: MutableMapping[str, str] | None = None) -> ServiceManager:
    """Return the service manager that the environment names, which is removed from there.

    Otherwise programs that are started from here would speak to it as well.
    """
    environ = os.environ if environ is None else environ
    address, interval, pid = (environ.pop(name, "") for name in (SOCKET_ENV, INTERVAL_ENV, PID_ENV))
    if not address.startswith(("/", "@")):
        return ServiceManager()
    is_meant = not pid or pid == str(os.getpid())
    wants_beats = is_meant and interval.isdecimal() and int(interval) > 0
    return ServiceManager(address, int(interval) / 1e6 if wants_beats else None)
