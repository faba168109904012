"""`KeyFolder`: the folder of a broker's keys, as the commands that change it see it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.key_files import (
    BROKER_KEY,
    BROKER_NEXT,
    BROKER_PUBLIC,
    RIGHTS,
    KeyFileError,
    NextPair,
    check_folder,
    digest_of,
    new_pair,
    read_next_pair,
    read_pair,
    read_text,
    replace,
    replace_pair,
    write_new,
    write_next_pair,
    write_pair,
)
from understudy_broker.keys.rights import BROKERS, Rights, parse_rights
from understudy_broker.keys.rights_text import TEMPLATE


class KeyFolder:
    """A folder with a broker's keys and rights.

    Parameters
    ----------
    path
        The folder, which may be missing before `create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rights_path = path / RIGHTS

    def create(self) -> str:
        """Make the broker's keys, and rights that nobody has yet; return the public key.

        Raises
        ------
        KeyFileError
            There are keys already, others can write to the folder, or it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise KeyFileError(f"cannot make the folder {self.path}: {error.strerror}") from None
        pair = new_pair(BROKERS)
        write_pair(self.path / BROKER_KEY, pair)
        write_new(self.path / BROKER_PUBLIC, f"{pair.public}\n", mode=0o644)
        if not self.rights_path.exists():
            write_new(self.rights_path, TEMPLATE, mode=0o644)
        return pair.public

    def read(self) -> Rights:
        """Return the rights.

        Raises
        ------
        KeyFileError, RightsError
            The folder or the file cannot be used.
        """
        return self._parsed(self._text())

    def digest(self) -> str:
        """Return the SHA-256 of the rights' text; raises as `read`."""
        return digest_of(self._text())

    def check(self) -> Rights:
        """Check everything that a broker would check at its start; return the rights.

        Raises
        ------
        KeyFileError, RightsError
            Something is wrong.
        """
        rights = self.read()
        pair, after = read_pair(self.path / BROKER_KEY), read_next_pair(self.path / BROKER_NEXT)
        try:
            rights.with_brokers(pair.public)
            if after is not None:
                rights.with_brokers(after.pair.public)
        except RightsError as error:
            raise RightsError(f"{self.rights_path}: {error}") from None
        return rights

    def rotate_broker(self, since: int) -> str:
        """Make the key that brokers have from a time on, and tell both in the public file.

        Parameters
        ----------
        since
            Epoch milliseconds.

        Returns
        -------
        The public key.

        Raises
        ------
        KeyFileError
            Another rotation is not completed, or a file cannot be used.
        """
        with self._locked():
            path, pair = self.path / BROKER_NEXT, read_pair(self.path / BROKER_KEY)
            if path.exists():
                raise KeyFileError(
                    f"{path} is there already: another rotation is not completed (understudy keys "
                    "rotate-broker --complete)"
                )
            after = NextPair(new_pair(BROKERS), since)
            # Peers may know the key before a broker has it, and not the other way round.
            replace(self.path / BROKER_PUBLIC, f"{pair.public}\n{after.pair.public}\n")
            write_next_pair(path, after)
            return after.pair.public

    def complete_rotation(self, now: int) -> str:
        """Let the broker's next key be its only one; return the public key.

        Raises
        ------
        KeyFileError
            There is none, or it is not due at `now`, or a file cannot be used.
        """
        with self._locked():
            path = self.path / BROKER_NEXT
            after = read_next_pair(path)
            if after is None:
                raise KeyFileError(f"there is no {path}: no rotation has begun")
            if now < after.since:
                raise KeyFileError(f"{path} is not due yet, so brokers still have the key so far")
            replace_pair(self.path / BROKER_KEY, after.pair)
            replace(self.path / BROKER_PUBLIC, f"{after.pair.public}\n")
            path.unlink()
            return after.pair.public

    def change(self, changed: Callable[[str], str]) -> None:
        """Replace the text of the rights by what a function makes of it, in one step.

        Raises
        ------
        KeyFileError, RightsError
            The folder or the file cannot be used, or the function has refused.
        """
        with self._locked():
            text = self._text()
            try:
                after = changed(text)
            except RightsError as error:
                raise RightsError(f"{self.rights_path}: {error}") from None
            replace(self.rights_path, after)

    def _text(self) -> str:
        check_folder(self.path)
        return read_text(self.rights_path)

    def _parsed(self, text: str) -> Rights:
        try:
            return parse_rights(text)
        except RightsError as error:
            raise RightsError(f"{self.rights_path}: {error}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other command change the rights meanwhile."""
        check_folder(self.path)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
