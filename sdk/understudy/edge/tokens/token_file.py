"""The file ``tokens.toml``, as the commands that change it see it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from understudy.edge.tokens.rules import RulesError
from understudy.edge.tokens.rules_text import TEMPLATE
from understudy_broker.keys.key_files import (
    check_folder,
    read_text,
    replace,
    write_new,
)


def change(path: Path, changed: Callable[[str], str]) -> None:
    """Replace the text of a file by what a function makes of it, in one step.

    A file that is missing is made.

    Raises
    ------
    KeyFileError, RulesError
        The file or its folder cannot be used, or the function has refused.
    """
    check_folder(path.parent)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # No other command changes it meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        is_new = not path.exists()
        try:
            after = changed(TEMPLATE if is_new else read_text(path))
        except RulesError as error:
            raise RulesError(f"{path}: {error}") from None
        if is_new:
            write_new(path, after, mode=0o644)
        else:
            replace(path, after)
    finally:
        os.close(descriptor)
