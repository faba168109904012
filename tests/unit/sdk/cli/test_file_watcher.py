"""Changed .py files below a folder."""

from __future__ import annotations

import os
from pathlib import Path

from understudy.cli.file_watcher import FileWatcher


def test_a_change_is_reported_once(tmp_path: Path) -> None:
    for name in ("a.py", "deep/b.py", "notes.txt", ".git/c.py", "env/d.py", "__pycache__/e.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    (tmp_path / "env/pyvenv.cfg").touch()
    folder = FileWatcher(tmp_path)
    assert folder.changes() == []
    for name in ("notes.txt", ".git/c.py", "env/d.py", "__pycache__/e.py"):
        (tmp_path / name).write_text("changed")
    assert folder.changes() == []
    os.utime(tmp_path / "a.py", ns=(1, 1))
    (tmp_path / "deep/b.py").unlink()
    (tmp_path / "deep/new.py").touch()
    assert folder.changes() == ["a.py", "deep/b.py", "deep/new.py"]
    assert folder.changes() == []
