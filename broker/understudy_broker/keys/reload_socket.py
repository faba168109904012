"""The socket by which commands on the same machine tell a broker that its rights have changed.

It is a file in the folder of the keys, for the user of the broker alone. Whoever connects is
answered with one line, an object of JSON: the broker has looked at the file by then, and says which
rights it has now. The broker does nothing else there, and reads nothing: under load each wait for
its loop would cost as much as all the rest.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from understudy_broker.keys.key_files import KeyFileError

#: bytes of an answer at most
ANSWER_BYTES_MAX: Final = 64 * 1024
#: how long a broker may take to answer
ANSWER_S: Final = 10.0
_PREFIX: Final = ".broker-"
_SUFFIX: Final = ".socket"
#: The system takes about a hundred bytes as the path of a socket.
_PATH_BYTES_MAX: Final = 100


class Answer(NamedTuple):
    """The answer of a broker.

    Attributes
    ----------
    digest
        The SHA-256 of the rights that it has.
    refused
        Why it does not take those that the file has; None: it has them.
    """

    broker: str
    process: int
    digest: str
    refused: str | None

    def encode(self) -> bytes:
        """Return the line."""
        return json.dumps(self._asdict()).encode() + b"\n"


def open_socket(folder: Path) -> tuple[socket.socket, Path]:
    """Return a new socket that listens in a folder, and its path.

    Raises
    ------
    OSError
        It cannot be made there.
    """
    path = folder / f"{_PREFIX}{secrets.token_hex(4)}{_SUFFIX}"
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as address:
            found.bind(address)
        # Nobody can connect before it listens, whatever its mode was until here.
        path.chmod(0o600)
        found.listen(16)
    except BaseException:
        found.close()
        raise
    return found, path


def ask_brokers(folder: Path) -> list[Answer]:
    """Have all brokers on this machine that run with a folder look at its rights.

    Returns
    -------
    Their answers, in the order of their names.

    Raises
    ------
    KeyFileError
        One of them does not answer, or may not be asked.
    """
    answers: list[Answer] = []
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            answer = _ask(path)
        except OSError as error:
            why = error.strerror or str(error)
            raise KeyFileError(f"a broker does not answer at {path}: {why}") from None
        if answer is not None:
            answers.append(answer)
    return sorted(answers)


def _ask(path: Path) -> Answer | None:
    """Ask one broker; None: it has ended, and its socket was left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        try:
            with _short(path) as address:
                connection.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(OSError):
                path.unlink()
            return None
        raw = b""
        while not raw.endswith(b"\n") and len(raw) < ANSWER_BYTES_MAX:
            more = connection.recv(4096)
            if not more:
                break
            raw += more
    try:
        return Answer(**json.loads(raw))
    except (ValueError, TypeError):
        raise OSError("it has ended, or gave no answer") from None


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path that is short enough for a socket."""
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
