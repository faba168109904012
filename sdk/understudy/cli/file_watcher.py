"""Which .py files below a folder have changed since the last look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias

#: path below the folder to (time of change, size)
_Seen: TypeAlias = dict[str, tuple[int, int]]

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class Folder:
    """A folder as it was when it was last looked at."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._seen = self._look()

    def changes(self) -> list[str]:
        """Files made, changed or removed since the last call, as paths below the folder."""
        now, before = self._look(), self._seen
        self._seen = now
        return sorted(
            path for path in now.keys() | before.keys() if now.get(path) != before.get(path)
        )

    def _look(self) -> _Seen:
        found: _Seen = {}
        waiting = [str(self.path)]
        while waiting:
            try:
                entries = os.scandir(waiting.pop())
            except OSError:
                continue  # removed meanwhile, or not ours to read
            with entries:
                for entry in entries:
                    self._take(entry, found, waiting)
        return found

    def _take(self, entry: os.DirEntry[str], found: _Seen, waiting: list[str]) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                if not _is_skipped(entry):
                    waiting.append(entry.path)
            elif entry.name.endswith(".py"):
                status = entry.stat()
                path = os.path.relpath(entry.path, self.path)
                found[path] = (status.st_mtime_ns, status.st_size)
        except OSError:
            return  # removed between the two looks at it


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    """Hidden folders, caches, virtual environments: nobody edits those."""
    if entry.name.startswith(".") or entry.name in _SKIPPED:
        return True
    return (Path(entry.path) / "pyvenv.cfg").is_file()
