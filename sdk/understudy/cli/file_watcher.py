"""Detection of changed .py files below a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, TypeAlias

#: path below the folder to (time of change, size)
_Files: TypeAlias = dict[str, tuple[int, int]]

_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class FileWatcher:
    """Reports the .py files below a folder that change.

    Parameters
    ----------
    folder
        Hidden folders, caches and virtual environments below it are skipped.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self._files = self._scan()

    def changes(self) -> list[str]:
        """Return the files made, changed or removed since the last call, relative to the folder."""
        now, before = self._scan(), self._files
        self._files = now
        return sorted(
            path for path in now.keys() | before.keys() if now.get(path) != before.get(path)
        )

    def _scan(self) -> _Files:
        found: _Files = {}
        folders = [str(self.folder)]
        while folders:
            try:
                entries = os.scandir(folders.pop())
            except OSError:
                continue  # removed in the meantime, or not readable
            with entries:
                for entry in entries:
                    self._add(entry, found, folders)
        return found

    def _add(self, entry: os.DirEntry[str], found: _Files, folders: list[str]) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                if not _is_skipped(entry):
                    folders.append(entry.path)
            elif entry.name.endswith(".py"):
                status = entry.stat()
                path = os.path.relpath(entry.path, self.folder)
                found[path] = (status.st_mtime_ns, status.st_size)
        except OSError:
            return  # removed since the folder was listed


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    """Return whether nobody edits files below this folder."""
    if entry.name.startswith(".") or entry.name in _SKIPPED:
        return True
    return (Path(entry.path) / "pyvenv.cfg").is_file()
