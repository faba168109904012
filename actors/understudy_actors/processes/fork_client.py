"""The pool's side of `fork_server`: one fork server, and the processes that it has forked."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import trio

from understudy_actors.processes.child import ProcessSpec, feed_stdin, read_output
from understudy_actors.processes.fork_server import MESSAGE_BYTES_MAX

#: The exit code to assume if the fork server has died, because only the parent learns the real one.
EXIT_UNKNOWN: Final = 255

#: Seconds to wait for the report of an exit that the pidfd has shown already.
_EXIT_REPORT_S: Final = 1.0
#: Lines that the import of an app may print; kept until it has succeeded.
_LINES_MAX: Final = 1_000
#: Seconds to wait for the answer to a request, which takes milliseconds.
_ANSWER_S: Final = 10.0

_DESCRIPTOR: Final = struct.Struct("i")
_DESCRIPTORS: Final = struct.Struct("ii")
_RIGHTS_BYTES: Final = socket.CMSG_SPACE(_DESCRIPTOR.size)


class ForkServerGoneError(Exception):
    """A fork server has ended, or does not answer."""

    def __init__(self, client: ForkClient) -> None:
        super().__init__(client)
        self.client = client


class ForkedProcess:
    """A process that a fork server has forked. Has the methods of `trio.Process` that pools use."""

    stdin = None

    def __init__(self, pid: int, pidfd: int, stdout: trio.lowlevel.FdStream) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._reported_code: int | None = None
        self._reported = trio.Event()

    async def wait(self) -> int:
        """Return when the process has ended: the exit code, or minus the number of a signal."""
        if self.returncode is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            with trio.move_on_after(_EXIT_REPORT_S):
                await self._reported.wait()
            os.close(self._pidfd)
            code = self._reported_code
            self.returncode = EXIT_UNKNOWN if code is None else code
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Send SIGKILL to this process alone."""
        self.send_signal(signal.SIGKILL)

    def report_exit(self, code: int | None) -> None:
        """Take the exit code from the fork server; None if the fork server has died."""
        self._reported_code = code
        self._reported.set()


class ForkClient:
    """One fork server, from its start to its end.

    Parameters
    ----------
    process
        The fork server.
    control
        The socket to it, which keeps messages apart.
    """

    def __init__(self, process: trio.Process, control: trio.socket.SocketType) -> None:
        self._process = process
        self._control = control
        self._children: dict[int, ForkedProcess] = {}
        self._forking = trio.Lock()
        #: the child's output, while a request to fork is under way
        self._output: trio.lowlevel.FdStream | None = None
        self._answers: deque[ForkedProcess | str] = deque()
        self._message_arrived = trio.Event()
        self._gone = False
        #: no more forks are wanted; the fork server stays for as long as it has children
        self._retired = False
        self._lines: deque[str] = deque(maxlen=_LINES_MAX)
        self.is_ready = False
        #: why the program must not be forked: the thread or descriptor that its import has left
        self.refusal: str | None = None

    @property
    def pid(self) -> int:
        """Process id of the fork server."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the fork server, or minus the number of a signal; None while it runs."""
        return self._process.returncode

    async def wait_ready(self) -> None:
        """Return when it can fork, or has found that its program must not be forked.

        Raises
        ------
        ForkServerGoneError
            It has ended before that.
        """
        while not self.is_ready and self.refusal is None:
            await self._next_message()

    async def fork(self, own_args: Sequence[str], lifeline_fd: int) -> ForkedProcess | str:
        """Fork a process with `own_args`, and with `lifeline_fd` as its lifeline.

        Returns
        -------
        ForkedProcess | str
            The name of a source file, if one has changed since the import. Nothing was forked then.

        Raises
        ------
        ForkServerGoneError
            It has ended, or has not answered in ten seconds.
        """
        # Shielded: a caller canceled here would leave behind a process that nobody knows of.
        with trio.CancelScope(shield=True):
            async with self._forking:
                read_fd, write_fd = os.pipe()
                output = self._output = trio.lowlevel.FdStream(read_fd)
                answer: ForkedProcess | str | None = None
                self._answers.clear()
                try:
                    await self._send_request(list(own_args), write_fd, lifeline_fd)
                    with trio.move_on_after(_ANSWER_S):
                        answer = await self._next_answer()
                finally:
                    self._output = None
                    os.close(write_fd)
                    if not isinstance(answer, ForkedProcess):
                        await output.aclose()
        if answer is None:
            self.kill()
            raise ForkServerGoneError(self)
        return answer

    def retire(self) -> None:
        """Fork no more: the fork server ends with the last of its children."""
        self._retired = True
        if not self._children:
            self.kill()

    def kill(self) -> None:
        """End the fork server. Its children live on, but their exit codes are lost."""
        self._process.kill()

    def take_lines(self) -> list[str]:
        """Return the lines that it has printed since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines

    @trio.lowlevel.enable_ki_protection
    async def run(self, spec: ProcessSpec) -> None:
        """Read its messages and its output until it has ended."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_output, self._process, self._lines.append)
                if spec.stdin_data is not None:
                    nursery.start_soon(feed_stdin, self._process, spec.stdin_data)
                await self._receive_messages()
                self.kill()
                await self._process.wait()
                nursery.cancel_scope.cancel()
            self._record_end()

    async def _receive_messages(self) -> None:
        while True:
            try:
                data, rights, _, _ = await self._control.recvmsg(MESSAGE_BYTES_MAX, _RIGHTS_BYTES)
            except OSError:
                return
            if not data:
                return
            descriptors = [_DESCRIPTOR.unpack(right)[0] for _, _, right in rights]
            self._handle_message(json.loads(data), descriptors)
            if self._retired and not self._children:
                return

    def _handle_message(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "forked" in message:
            self._adopt(message["forked"], descriptors[0])
        elif "ended" in message:
            child = self._children.pop(message["ended"], None)
            if child is not None:
                child.report_exit(message["code"])
        elif "stale" in message:
            self._answers.append(str(message["stale"]))
        elif "refused" in message:
            self.refusal = message["refused"]
        else:
            self.is_ready = True
        self._wake_waiters()

    def _adopt(self, pid: int, pidfd: int) -> None:
        if self._output is None:
            # The answer came after the request was given up: nobody would know of the process.
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        else:
            child = self._children[pid] = ForkedProcess(pid, pidfd, self._output)
            self._answers.append(child)

    def _record_end(self) -> None:
        self._gone = True
        self._control.close()
        for child in self._children.values():
            child.report_exit(None)
        self._wake_waiters()

    async def _send_request(self, own_args: list[str], *descriptors: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTORS.pack(*descriptors))
        try:
            await self._control.sendmsg([json.dumps(own_args).encode()], [rights])
        except OSError as error:
            raise ForkServerGoneError(self) from error

    async def _next_answer(self) -> ForkedProcess | str:
        while not self._answers:
            await self._next_message()
        return self._answers.popleft()

    async def _next_message(self) -> None:
        if self._gone:
            raise ForkServerGoneError(self)
        await self._message_arrived.wait()

    def _wake_waiters(self) -> None:
        self._message_arrived.set()
        self._message_arrived = trio.Event()
