"""Real processes in a few milliseconds: a process that has imported everything, and forks.

``python -m tests.forker`` reads requests from standard input, one JSON object in each line. Each
makes a child with a session of its own, the folder ``cwd``, and an output that is added to ``log``.

- ``{"call": "module:function", "argv": [...], "env": {...}, ...}``: the child ends with what the
  function returns; `env` has the variables that it gets beside those of the forker.
- ``{"python": [...], "env": {...}, ...}``: the child does what a Python would with these words,
  ``-m module ...`` or ``script ...``, with the variables of `env` alone. What it may notice are the
  modules that are loaded already, its parent, and that variables for Python itself do nothing. Its
  standard error is added to the file ``errors`` if there is one.

Lines on standard output answer: ``{"ready": pid}`` after the imports, ``{"pid": ...}`` in the order
of the requests, and ``{"ended": pid, "code": ...}``. It has no threads and no ZeroMQ context,
because none of them survives a fork. When standard input ends, it kills all children that still
live, and ends.
"""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

#: modules that the children will need
IMPORTS: Final = (
    "tests.integration.recovery.app",
    "tests.integration.recovery.client",
    "tests.integration.recovery.launch",
    "understudy.cli.app",
    "understudy.cli.commands.broker",
    "understudy.cli.commands.node",
    "understudy.cli.runtime_loader",
    "understudy.client.connection",
    "understudy.edge.process",
    "understudy_broker.server.daemon",
    "understudy_store.engines.memory",
    "understudy_store.engines.sqlite.engine",
    "understudy_store.engines.sql.migrations",
)

Request = dict[str, Any]


def main() -> Request | None:
    """Serve until standard input ends; return in a child what it is to become."""
    for name in IMPORTS:
        import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    _say({"ready": os.getpid()})
    rest = b""
    children: set[int] = set()
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            children -= _reap()
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return None
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                request: Request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    os.close(wake_read)
                    os.close(wake_write)
                    return request
                children.add(pid)
                _say({"pid": pid})


def _reap() -> set[int]:
    ended: set[int] = set()
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            ended.add(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})
    return ended


def become(request: Request) -> NoReturn:
    """Be the child that was asked for."""
    if "python" in request:
        _prepare(request)
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        _become_python(*request["python"])
        sys.exit()
    code = 70
    try:
        _prepare(request)
        os.environ.update(request["env"])
        module, _, name = request["call"].partition(":")
        function: Callable[[list[str]], int] = getattr(import_module(module), name)
        code = function(request["argv"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _prepare(request: Request) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    path: str = request["errors"] if "errors" in request else request["log"]
    errors = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((null, 0), (log, 1), (errors, 2)):
        os.dup2(source, target)
        os.set_inheritable(target, True)
    os.close(null)
    os.close(errors)
    os.close(log)
    os.chdir(request["cwd"])


def _become_python(first: str, *rest: str) -> None:
    # Unbuffered, as the tests ask Python for.
    raw = open(1, "wb", buffering=0, closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = io.TextIOWrapper(raw, "utf-8", write_through=True)
    if first == "-m":
        module, *words = rest
        sys.path[0] = str(Path.cwd())
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    sys.path[0] = str(Path(first).parent)
    sys.argv = [first, *rest]
    program = ModuleType("__main__")
    program.__file__ = first
    # It lasts until the end of the process, when threads may still be at work in it.
    sys.modules["__main__"] = program
    exec(compile(Path(first).read_bytes(), first, "exec"), program.__dict__)


def _say(message: dict[str, int]) -> None:
    # The test may be gone, which the end of standard input shows as well.
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    asked = main()
    if asked is not None:
        become(asked)
