"""Real processes in a few milliseconds: a process that has imported everything, and forks.

``python -m tests.integration.recovery.forker`` reads requests from standard input, one JSON object
in each line: ``{"call": "module:function", "argv": [...], "env": {...}, "cwd": ..., "log": ...}``.
Each makes a child with a session of its own, which ends with what the function returns. Lines on
standard output answer: ``{"ready": pid}`` after the imports, ``{"pid": ...}`` in the order of the
requests, and ``{"ended": pid, "code": ...}``. It has no threads and no ZeroMQ context, because none
of them survives a fork. When standard input ends, it kills all children that still live, and ends.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
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
    "understudy_broker.server.daemon",
    "understudy_store.engines.memory",
    "understudy_store.engines.sqlite.engine",
    "understudy_store.engines.sql.migrations",
)


def main() -> None:
    """Serve until standard input ends."""
    for name in IMPORTS:
        import_module(name)
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
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                children.add(_fork(json.loads(line), selector))


def _reap() -> set[int]:
    ended: set[int] = set()
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            ended.add(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})
    return ended


def _fork(request: dict[str, Any], selector: selectors.BaseSelector) -> int:
    pid = os.fork()
    if pid == 0:
        selector.close()
        _become_child(request)
    _say({"pid": pid})
    return pid


def _become_child(request: dict[str, Any]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.chdir(request["cwd"])
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


def _say(message: dict[str, int]) -> None:
    # The test may be gone, which the end of standard input shows as well.
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
