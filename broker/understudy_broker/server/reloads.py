"""Reloads: the rights are read at once when a command on this machine asks for it, or at SIGHUP."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Final

import trio

from understudy_broker.keys.reload_socket import Answer, open_socket
from understudy_broker.server.keys import BrokerKeys, RightsWatch
from understudy_broker.server.logs import Log
from understudy_broker.transport.loop_lock import LoopThread

#: how long somebody who has connected may take to take the answer
_TALK_S: Final = 2.0


async def serve_reloads(keys: BrokerKeys, watch: RightsWatch, broker: str, log: Log) -> None:
    """Answer commands at a socket in the folder of the keys, for ever.

    If there can be none, the log says so, and the file is followed as before.
    """
    try:
        listener, path = open_socket(keys.folder)
    except OSError as error:
        text = "understudy keys reload will not find this broker: no socket in the folder of keys"
        log("warning", text, {"reason": error.strerror, "folder": str(keys.folder)})
        await trio.sleep_forever()
    try:
        sockets = trio.socket.from_stdlib_socket(listener)
        with sockets:
            while True:
                connection, _ = await sockets.accept()
                with connection, suppress(OSError):
                    await _answer(connection, keys, watch, broker)
    finally:
        with suppress(OSError):
            path.unlink()


async def _answer(
    connection: trio.socket.SocketType, keys: BrokerKeys, watch: RightsWatch, broker: str
) -> None:
    await watch.look(whatever=True)
    answer = Answer(broker, os.getpid(), keys.digest, keys.refused).encode()
    with trio.move_on_after(_TALK_S):
        while answer:
            answer = answer[await connection.send(answer) :]


class Hangups:
    """Makes SIGHUP a wish that the rights be read, while the block runs, for a broker as a service.

    A terminal that closes sends SIGHUP as well, and then a broker that was started there is to end.
    So this does nothing where the process has a terminal, nor where the signal is not at its
    default.
    """

    def __init__(self) -> None:
        self._requested = False
        self._loop: LoopThread | None = None
        self._event = trio.Event()
        self._is_set = False

    def __enter__(self) -> Hangups:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL and not has_terminal():
            signal.signal(signal.SIGHUP, self._handle)
            self._is_set = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_set:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def _handle(self, _number: int, _frame: object) -> None:
        self._requested = True
        if self._loop is not None:
            self._loop.run_soon(self._wake)

    def _wake(self) -> None:
        self._event.set()

    async def run(self, watch: RightsWatch) -> None:
        """Look at the rights at each signal, for ever."""
        self._loop = LoopThread()
        while True:
            if not self._requested:
                await self._event.wait()
            self._event = trio.Event()
            self._requested = False
            await watch.look(whatever=True)


def has_terminal() -> bool:
    """Return whether this process has a terminal that may close."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
