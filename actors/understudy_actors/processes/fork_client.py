"""The pool's side of `forking`: its templates, and the processes that they have forked."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import trio

from understudy_actors.processes.child import ProcessSpec, feed_stdin, open_child, read_output
from understudy_actors.processes.fork_server import (
    FORK_ENV,
    FORKING_SUPPORTED,
    MESSAGE_BYTES_MAX,
    TEMPLATE_ENV,
)
from understudy_actors.processes.lifeline import LIFELINE_ENV

#: What an exit code is taken for if the template has died, which alone would have learnt it.
EXIT_UNKNOWN: Final = 255

#: Seconds for a template's report of an end that has been seen already.
_REPORT_S: Final = 1.0
#: Templates that may fail one after the other before a process is simply started.
_ATTEMPTS: Final = 3
#: Lines that the import of an app may print; kept until it has succeeded.
_LINES_MAX: Final = 1_000

#: Seconds for the answer to a request, which takes milliseconds.
_FORK_S: Final = 10.0

_DESCRIPTOR: Final = struct.Struct("i")
_RIGHTS_BYTES: Final = socket.CMSG_SPACE(_DESCRIPTOR.size)

#: What makes two processes the same but for their own arguments.
_Key: TypeAlias = tuple[Any, ...]


class _TemplateGoneError(Exception):
    """It has ended, or does not answer."""

    def __init__(self, template: _Template) -> None:
        super().__init__(template)
        self.template = template


class Forked:
    """A process that a template has forked. Has what the pool wants of a `trio.Process`."""

    stdin = None

    def __init__(self, pid: int, pidfd: int, stdout: trio.lowlevel.FdStream) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._code: int | None = None
        self._reported = trio.Event()

    async def wait(self) -> int:
        """Return when it has ended; the exit code, or minus the signal's number."""
        if self.returncode is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            with trio.move_on_after(_REPORT_S):
                await self._reported.wait()
            os.close(self._pidfd)
            self.returncode = EXIT_UNKNOWN if self._code is None else self._code
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL to this process alone."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, code: int | None) -> None:
        self._code = code
        self._reported.set()


class _Template:
    """One template process, from its start to its end."""

    def __init__(self, process: trio.Process, control: trio.socket.SocketType) -> None:
        self._process = process
        self._control = control
        self._children: dict[int, Forked] = {}
        self._forking = trio.Lock()
        #: of the fork that is asked for: where its output goes, and what became of it
        self._output: trio.lowlevel.FdStream | None = None
        self._answers: deque[Forked | str] = deque()
        self._news = trio.Event()
        self.is_ready = False
        self._gone = False
        #: nobody wants forks of it any more; it stays for as long as it has children
        self._retired = False
        #: why it must not be forked
        self.refused: str | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_MAX)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> None:
        """Return when it can fork, or has found that it must not be forked."""
        while not self.is_ready and self.refused is None:
            await self._hear()

    async def fork(self, own_args: Sequence[str]) -> Forked | str:
        """A new process; or the name of a source file that has changed, and it forks no more."""
        # shielded: whoever asks must take what comes, or nobody would know of it
        with trio.CancelScope(shield=True):
            async with self._forking:
                read_fd, write_fd = os.pipe()
                output = self._output = trio.lowlevel.FdStream(read_fd)
                answer: Forked | str | None = None
                self._answers.clear()
                try:
                    await self._ask(list(own_args), write_fd)
                    with trio.move_on_after(_FORK_S):
                        answer = await self._next_answer()
                finally:
                    self._output = None
                    os.close(write_fd)
                    if not isinstance(answer, Forked):
                        await output.aclose()
        if answer is None:
            self.kill()
            raise _TemplateGoneError(self)
        return answer

    async def _next_answer(self) -> Forked | str:
        while not self._answers:
            await self._hear()
        return self._answers.popleft()

    def retire(self) -> None:
        """No more forks: it leaves with the last of its children."""
        self._retired = True
        if not self._children:
            self.kill()

    def kill(self) -> None:
        """End it; its children go on, but how they end nobody learns."""
        self._process.kill()

    def take_lines(self) -> list[str]:
        """What it has printed since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines

    @trio.lowlevel.enable_ki_protection
    async def run(self, spec: ProcessSpec) -> None:
        """Read what it says and prints, until it has ended."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_output, self._process, self._lines.append)
                if spec.stdin_data is not None:
                    nursery.start_soon(feed_stdin, self._process, spec.stdin_data)
                await self._listen()
                self.kill()
                await self._process.wait()
                nursery.cancel_scope.cancel()
            self._end()

    async def _listen(self) -> None:
        while True:
            try:
                data, rights, _, _ = await self._control.recvmsg(MESSAGE_BYTES_MAX, _RIGHTS_BYTES)
            except OSError:
                return
            if not data:
                return
            self._take(json.loads(data), [_DESCRIPTOR.unpack(right)[0] for _, _, right in rights])
            if self._retired and not self._children:
                return

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "forked" in message:
            self._forked(message["forked"], descriptors[0])
        elif "ended" in message:
            child = self._children.pop(message["ended"], None)
            if child is not None:
                child._ended(message["code"])
        elif "stale" in message:
            self._answers.append(str(message["stale"]))
        elif "refused" in message:
            self.refused = message["refused"]
        else:
            self.is_ready = True
        self._notify()

    def _forked(self, pid: int, pidfd: int) -> None:
        if self._output is None:
            # so late that nobody waits for it any more
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        else:
            child = self._children[pid] = Forked(pid, pidfd, self._output)
            self._answers.append(child)

    def _end(self) -> None:
        self._gone = True
        self._control.close()
        for child in self._children.values():
            child._ended(None)
        self._notify()

    async def _ask(self, own_args: list[str], output_fd: int) -> None:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(output_fd))
        try:
            await self._control.sendmsg([json.dumps(own_args).encode()], [rights])
        except OSError as error:
            raise _TemplateGoneError(self) from error

    async def _hear(self) -> None:
        """Wait for the next message."""
        if self._gone:
            raise _TemplateGoneError(self)
        await self._news.wait()

    def _notify(self) -> None:
        self._news.set()
        self._news = trio.Event()


class Templates:
    """The templates of a pool; each is started when the first process is wanted of it.

    Parameters
    ----------
    nursery
        Where they are attended to; `aclose` ends that.
    on_line
        As for the pool: what an import prints goes under the name of the process that wanted it.
    say
        A line of the pool's own.
    lifeline_fd
        For the children.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        on_line: Callable[[str, str], None],
        say: Callable[[str], None],
        lifeline_fd: int,
    ) -> None:
        self._nursery = nursery
        self._on_line = on_line
        self._say = say
        self._lifeline_fd = lifeline_fd
        self._starting = trio.Lock()
        self._templates: dict[_Key, _Template] = {}
        #: all that run, those without new forks too
        self._running: set[_Template] = set()
        self._refused: set[_Key] = set()
        self._none_left = trio.Event()
        self._stopping = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of all that run."""
        return tuple(template.pid for template in self._running)

    async def fork(self, spec: ProcessSpec) -> Forked | None:
        """A process as `spec` says; None if it must be started instead.

        Raises
        ------
        OSError
            If the program cannot be started at all.
        """
        key = _key(spec)
        for _ in range(_ATTEMPTS):
            if self._stopping or key in self._refused or not _may_fork(spec):
                return None
            try:
                template = await self._ready(key, spec)
                if template is None:
                    return None
                forked = await template.fork(spec.own_args)
            except _TemplateGoneError as gone:
                self._forget(key, gone.template)
                continue
            if isinstance(forked, Forked):
                return forked
            # what is started again runs the code that is there now
            self._say(f"{forked} has changed: {spec.name} is started with the new code")
            self._forget(key, template)
            template.retire()
        return None

    def give_up(self) -> None:
        """The pool stops: nothing more is forked, and no import is waited for."""
        self._stopping = True
        for template in self._running:
            template.retire()

    async def aclose(self) -> None:
        """End all templates. Their children should have ended before."""
        self.give_up()
        with trio.CancelScope(shield=True):
            # one that is just being started is among those that run then
            async with self._starting:
                pass
            for template in self._running:
                template.kill()
            while self._running:
                self._none_left = trio.Event()
                await self._none_left.wait()

    async def prepare(self, specs: Iterable[ProcessSpec]) -> None:
        """Start the templates that `specs` need, all at once, and return when they are ready."""
        async with trio.open_nursery() as nursery:
            for spec in {_key(spec): spec for spec in specs if _may_fork(spec)}.values():
                nursery.start_soon(self._prepare, spec)

    async def _prepare(self, spec: ProcessSpec) -> None:
        # what is wrong with the program, its start as a process will say
        with suppress(OSError, _TemplateGoneError):
            await self._ready(_key(spec), spec)

    async def _ready(self, key: _Key, spec: ProcessSpec) -> _Template | None:
        """The template for `key`; None if there can be none."""
        template = self._templates.get(key)
        if template is None:
            async with self._starting:
                template = self._templates.get(key)
                if template is None:
                    if self._stopping:
                        return None
                    template = await self._start(key, spec)
        known = template.is_ready
        try:
            await template.ready()
        except _TemplateGoneError:
            if not known:
                # started by itself, the program says what is wrong
                self._forget(key, template)
                return None
            raise
        for line in template.take_lines():
            self._on_line(spec.name, line)
        if template.refused is not None:
            if key not in self._refused:
                self._refused.add(key)
                self._say(
                    f"{spec.name} and its like are started one by one, which is slower: their "
                    f"program cannot be forked, for its import leaves {template.refused} behind"
                )
            return None
        return template

    async def _start(self, key: _Key, spec: ProcessSpec) -> _Template:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            fd = theirs.fileno()
            inherited = {TEMPLATE_ENV: fd, LIFELINE_ENV: self._lifeline_fd}
            process = await open_child(spec, spec.argv, inherited)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        template = _Template(process, trio.socket.from_stdlib_socket(ours))
        self._templates[key] = template
        self._running.add(template)
        what = f"template of {spec.name}"
        self._nursery.start_soon(self._attend, key, template, spec, name=what)
        return template

    async def _attend(self, key: _Key, template: _Template, spec: ProcessSpec) -> None:
        try:
            await template.run(spec)
        finally:
            self._running.discard(template)
            if not self._running:
                self._none_left.set()
        if template.is_ready and self._templates.get(key) is template and not self._stopping:
            # it was killed: another one is there before the next process is wanted
            self._forget(key, template)
            await self._prepare(spec)

    def _forget(self, key: _Key, template: _Template) -> None:
        if self._templates.get(key) is template:
            del self._templates[key]


def _may_fork(spec: ProcessSpec) -> bool:
    return FORKING_SUPPORTED and {**os.environ, **spec.env}.get(FORK_ENV) != "0"


def _key(spec: ProcessSpec) -> _Key:
    env = tuple(sorted(spec.env.items()))
    return tuple(spec.argv), env, str(spec.cwd or ""), spec.stdin_data
