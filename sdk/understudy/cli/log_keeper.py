"""Keeps the file of logs that the dashboard beside a broker reads."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from understudy.log_file import put_away
from understudy_broker.log_format import FILE_VARIABLE

#: seconds between two looks at its size
_LOOK_S: Final = 1.0


@contextmanager
def log_file_beside(store: Path | None) -> Iterator[Path]:
    """Yield the file to which processes are to add their log lines, and keep it small.

    It is STORE.log, and about 64 MiB with the older ones (STORE.log.1 and so on). A file that
    UNDERSTUDY_LOG_FILE names is taken instead, and left as it is.

    Parameters
    ----------
    store
        The file of the store; None: it has none, so the logs are in a temporary folder, which goes
        with the block.
    """
    if given := os.environ.get(FILE_VARIABLE):
        yield Path(given).absolute()
        return
    if store is not None:
        with _kept(store.with_name(f"{store.name}.log").absolute()) as path:
            yield path
        return
    with (
        tempfile.TemporaryDirectory(
            prefix="understudy-logs-", ignore_cleanup_errors=True
        ) as folder,
        _kept(Path(folder) / "understudy.log") as path,
    ):
        yield path


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(_LOOK_S):
            put_away(path)

    thread = threading.Thread(target=keep, name="understudy-log-keeper", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        ended.set()
        thread.join()
