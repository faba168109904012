"""The output of many processes in one terminal: each line with the name of its process."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from understudy_broker.log_format import FORMAT_VARIABLE, timestamp

#: Lines that wait for a blocked terminal or pipe; further lines are dropped.
LINES_WAITING_MAX = 10_000

#: Seconds that `close` waits for a blocked terminal or pipe.
_CLOSE_S = 1.0

_RESET = "\x1b[0m"
_COLORS = tuple(f"\x1b[{code}m" for code in (36, 33, 32, 35, 34, 96, 93, 92, 95, 94))


class LinePrinter:
    """Prints ``name | line``, from a thread of its own.

    A write to a stopped terminal, or to a pipe that nobody reads, blocks. Here that fills a bounded
    queue; lines that no longer fit are counted and dropped, and neither the pool nor its children
    wait. A line that the stream refuses is lost, characters that its encoding lacks are escaped,
    and later lines are printed in both cases. Colors are used if the stream is a terminal and
    NO_COLOR is not set.

    If UNDERSTUDY_LOG_FORMAT asks for JSON, each line is an object: one that a process has written
    gets the name of the process as ``process``, and any other text becomes one, as ``event``.

    Parameters
    ----------
    names
        Names known beforehand, so that the column is wide enough from the first line.
    stream
        Where to print, by default standard output.
    """

    def __init__(self, names: Iterable[str] = (), stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = sys.stdout if stream is None else stream
        self._is_json = os.environ.get(FORMAT_VARIABLE) == "json"
        self._width = max((len(name) for name in names), default=0)
        is_terminal = self._stream is not None and self._stream.isatty()
        self._uses_color = is_terminal and not os.environ.get("NO_COLOR")
        self._colors: dict[str, str] = {}
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._dropped = 0
        self._thread = threading.Thread(
            target=self._print_all, name="understudy-printer", daemon=True
        )
        self._thread.start()

    def __call__(self, name: str, line: str) -> None:
        """Print `line` of process `name`; returns at once."""
        try:
            self._lines.put_nowait(self._prefixed(name, line))
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Print the lines that wait, then end; give up after a second."""
        try:
            self._lines.put(None, timeout=_CLOSE_S)
        except queue.Full:
            return
        self._thread.join(_CLOSE_S)

    def _prefixed(self, name: str, line: str) -> str:
        if self._is_json:
            return _object(name, line)
        self._width = max(self._width, len(name))
        prefix = f"{name:<{self._width}} | "
        if not self._uses_color:
            return prefix + line
        color = self._colors.setdefault(name, _COLORS[len(self._colors) % len(_COLORS)])
        return f"{color}{prefix}{_RESET}{line}"

    def _print_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._write(self._prefixed("pool", f"{dropped} lines dropped"))
            # Flushed only when the queue is empty, so that a burst of lines is one write.
            if self._lines.empty():
                self._flush()
        self._flush()

    def _write(self, line: str) -> None:
        stream = self._stream
        if stream is None:
            return  # The process was started without standard output.
        # A line that cannot be written is lost, and the next one is tried: a full disk may have
        # room by then.
        with suppress(OSError, ValueError):
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                escaped = line.encode(encoding, "backslashreplace").decode(encoding)
                stream.write(escaped + "\n")

    def _flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()


def _object(name: str, line: str) -> str:
    """Return a line of a process as a JSON object with its name.

    Examples
    --------
    >>> _object("node/1", '{"event": "ready"}')
    '{"event": "ready", "process": "node/1"}'
    """
    process = json.dumps(name)
    if line.startswith("{"):
        with suppress(ValueError, RecursionError):
            if json.loads(line):
                # The last one counts, if the line has a "process" of its own.
                return f'{line.rstrip()[:-1]}, "process": {process}}}'
    return json.dumps({"event": line, "timestamp": timestamp(time.time()), "process": name})
