"""Standard output and standard error of processes that must not end, or fail a call, because of
them: closed, full, broken, or with an encoding that lacks a character.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, Final

#: The descriptors of standard output and standard error, by the names of their streams.
_OUTPUTS: Final = {"stdout": 1, "stderr": 2}


class UnfailingFile(io.RawIOBase):
    """A descriptor to write to that raises no error: what cannot be written is lost.

    It is never closed. Once there is room again, later output arrives. A pipe whose reader is gone
    is replaced by nothing at all, so that the programs that this process starts do not fail either.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def close(self) -> None:
        """Do nothing: others print as well."""

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        """Write all bytes, or lose the rest; return their number in both cases."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Another program has made the description non-blocking for all who share it.
                _wait_writable(self._fd)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    _replace_by_null(self._fd)
                break
        return size


class _Buffer(io.BufferedWriter):
    """A buffer that whoever closes it only flushes."""

    def close(self) -> None:
        self.flush()


class _Text(io.TextIOWrapper):
    """A text stream that whoever closes it only flushes.

    Many functions of one process print to it, and one of them may close it: in a program of its own
    that would harm nobody.
    """

    def close(self) -> None:
        self.flush()


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0, 1 and 2 that are closed, to nothing.

    Otherwise the next file or socket would get such a number, and whatever a library or a child
    process prints would be written into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            _replace_by_null(fd)
    for name, fd in _OUTPUTS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, _text(fd, "utf-8", write_through=False))


def escape_unencodable() -> None:
    """Print characters that an output's encoding lacks as escapes, instead of raising."""
    for name in _OUTPUTS:
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def protect_output(encoding: str | None = None) -> None:
    """Make `sys.stdout` and `sys.stderr` raise no errors from here on, and never close.

    A stream that something else, such as a test, has put in place stays as it is.

    Parameters
    ----------
    encoding
        The encoding of both; None: as before.
    """
    open_standard_descriptors()
    for name, fd in _OUTPUTS.items():
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        replacement = _text(fd, encoding or stream.encoding, write_through=stream.write_through)
        setattr(sys, name, replacement)


def silence_broken_output() -> None:
    """Let each output whose reader is gone lead to nothing; called when a supervisor has ended.

    The programs that this process starts would otherwise fail when they print.
    """
    for fd in _OUTPUTS.values():
        poll = select.poll()
        poll.register(fd, 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            _replace_by_null(fd)


def _text(fd: int, encoding: str, *, write_through: bool) -> io.TextIOWrapper:
    raw = UnfailingFile(fd)
    # Unbuffered as Python does it: the text layer writes straight to the descriptor.
    buffer: Any = raw if write_through else _Buffer(raw)
    line_buffering = fd == _OUTPUTS["stderr"] or raw.isatty()
    return _Text(
        buffer,
        encoding,
        errors="backslashreplace",
        line_buffering=line_buffering,
        write_through=write_through,
    )


def _replace_by_null(fd: int) -> None:
    """Let `fd` lead to nothing, whether it is open or not."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    else:
        os.set_inheritable(fd, True)


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
