"""Files of keys: how they are read, and made so that nobody else can read them.

A secret key stands in a TOML file with the name of its holder. Whoever can read it is that holder
to every broker, so a file that others can read is refused rather than used.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import zmq

from understudy_broker.errors import BrokerError
from understudy_broker.keys.public_keys import KEY_CHARS, is_key

#: the files in the folder of a broker's keys
BROKER_KEY: Final = "broker.key"
BROKER_NEXT: Final = "broker.next.key"
BROKER_PUBLIC: Final = "broker.pub"
RIGHTS: Final = "rights.toml"
#: where systemd puts the credentials of a service
CREDENTIALS_ENV: Final = "CREDENTIALS_DIRECTORY"
#: keys that a file of a broker's public keys may have
PUBLIC_MAX: Final = 2
_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


class KeyFileError(BrokerError):
    """A file or folder of keys cannot be used; the message says why."""


class KeyPair(NamedTuple):
    """A pair of keys, as text.

    Attributes
    ----------
    name
        The holder, as its file has it; it is only a reminder for people.
    """

    name: str
    public: str
    secret: str

    def __repr__(self) -> str:
        """Return a text without the secret, which must not get into logs."""
        return f"KeyPair({self.name!r}, {self.public!r})"


class NextPair(NamedTuple):
    """The keys that a broker is to have later.

    Attributes
    ----------
    since
        From when on a broker that starts has them, epoch milliseconds.
    """

    pair: KeyPair
    since: int


def new_pair(name: str) -> KeyPair:
    """Make a pair of keys."""
    public, secret = zmq.curve_keypair()
    return KeyPair(name, public.decode(), secret.decode())


def find(given: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of a file of keys.

    Parameters
    ----------
    given
        A path, or the name of a credential that systemd has given to this service.
    """
    folder = environ.get(CREDENTIALS_ENV)
    if folder and "/" not in given and (Path(folder) / given).is_file():
        return Path(folder) / given
    return Path(given).expanduser()


def read_pair(path: Path) -> KeyPair:
    """Read a secret key.

    Raises
    ------
    KeyFileError
        It cannot be read, others can read it as well, or it is none.
    """
    text = _read(path, secret=True)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raw = {}
    name, secret = raw.get("name", ""), raw.get("secret")
    if not isinstance(name, str) or not isinstance(secret, str) or not is_key(secret):
        raise KeyFileError(
            f"{path} has no secret key: name the file that understudy keys new has written"
        )
    return KeyPair(name, zmq.curve_public(secret.encode()).decode(), secret)


def read_public(given: str, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return public keys, given as one such key, or by a path or a credential's name.

    A file has one in each line: two, while the broker's key is being replaced.

    Raises
    ------
    KeyFileError
        There is no such file, or no public key in it.
    """
    path = find(given, environ)
    if is_key(given) and not path.is_file():
        return (given,)
    lines = _read(path, secret=False).split()
    if not 1 <= len(lines) <= PUBLIC_MAX or not all(map(is_key, lines)):
        raise KeyFileError(
            f"{path} has no public key: {KEY_CHARS} characters, as in the {BROKER_PUBLIC} of the "
            "broker"
        )
    return tuple(lines)


def read_next_pair(path: Path) -> NextPair | None:
    """Read the key that a broker is to have later; None: there is none.

    Raises
    ------
    KeyFileError
        It cannot be read, others can read it as well, or it is none.
    """
    if not path.exists():
        return None
    pair = read_pair(path)
    since = tomllib.loads(_read(path, secret=True)).get("since")
    if not isinstance(since, datetime) or since.tzinfo is None:
        raise KeyFileError(
            f"{path} does not say since when the broker has this key: it is what understudy keys "
            "rotate-broker has written"
        )
    return NextPair(pair, int(since.timestamp() * 1000))


def write_next_pair(path: Path, after: NextPair) -> None:
    """Write the key that a broker is to have later; raises as `write_pair`."""
    since = datetime.fromtimestamp(after.since // 1000, UTC).isoformat().replace("+00:00", "Z")
    write_new(path, f"{_pair_text(after.pair)}since = {since}\n", mode=0o600)


def read_text(path: Path) -> str:
    """Return the text of a file that is no secret, but that only this user may change.

    Raises
    ------
    KeyFileError
        It cannot be read, or others can change it.
    """
    return _read(path, secret=False)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, by which a broker says which rights it has."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_secret_text(path: Path) -> str:
    """Return the text of a file of secrets.

    Raises
    ------
    KeyFileError
        It cannot be read, or others can read it as well.
    """
    return _read(path, secret=True)


def write_pair(path: Path, pair: KeyPair) -> None:
    """Write a secret key into a new file that only this user can read.

    Raises
    ------
    KeyFileError
        There is a file already, or others can write to the folder.
    """
    write_new(path, _pair_text(pair), mode=0o600)


def replace_pair(path: Path, pair: KeyPair) -> None:
    """Replace a file by that of another secret key; raises as `write_pair`."""
    replace(path, _pair_text(pair))


def _pair_text(pair: KeyPair) -> str:
    return (
        f"# The secret key of {pair.name}. Whoever can read this file can act as its holder.\n"
        f'name = "{pair.name}"\npublic = "{pair.public}"\nsecret = "{pair.secret}"\n'
    )


def write_new(path: Path, text: str, *, mode: int) -> None:
    """Write a file that is not there yet, whole, or not at all; raises as `write_pair`."""
    check_folder(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Under its name from the first byte on: nobody else can make it, and a second one fails.
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} is there already; nothing was changed") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    try:
        _write(descriptor, text, mode)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    _sync_folder(path.parent)


def replace(path: Path, text: str) -> None:
    """Replace a file in one step, with the mode that it has; raises as `write_pair`."""
    check_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        descriptor = os.open(beside, flags, mode)
        try:
            _write(descriptor, text, mode)
            beside.rename(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    _sync_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Check that a folder is there, and that nobody else can put files into it.

    Raises
    ------
    KeyFileError
        It is not there, is somebody else's, or others can write to it.
    """
    try:
        found = folder.stat()
    except OSError as error:
        raise KeyFileError(f"cannot use the folder {folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise KeyFileError(f"{folder} is no folder")
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(f"the folder {folder} is another user's, who could replace the keys")
    if found.st_mode & _WRITABLE:
        raise KeyFileError(
            f"others can write to the folder {folder}, and so replace the keys: chmod go-w {folder}"
        )


def _read(path: Path, *, secret: bool) -> str:
    # The descriptor is looked at, not the path, so the file that is judged is the one that is read.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"cannot read the key {path}: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileError(f"{path} is no file")
        if secret:
            _check_secret(path, found)
        elif found.st_mode & _WRITABLE:
            raise KeyFileError(f"others can change {path}: chmod go-w {path}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(raw) > _FILE_BYTES_MAX:
        raise KeyFileError(f"{path} is larger than {_FILE_BYTES_MAX:,} bytes")
    with suppress(UnicodeDecodeError):
        return raw.decode("utf-8")
    raise KeyFileError(f"{path} is no text")


def _check_secret(path: Path, found: os.stat_result) -> None:
    """Check that no other user can read a file."""
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"{path} is another user's file: it must belong to the user who runs this"
        )
    # systemd lets a service read its credentials by an access list, which shows as group's rights.
    folder = os.environ.get(CREDENTIALS_ENV)
    is_credential = bool(folder) and path.parent == Path(folder or "")
    if found.st_mode & (stat.S_IRWXO if is_credential else _OTHERS):
        mode = stat.S_IMODE(found.st_mode)
        raise KeyFileError(
            f"others can read the secret key {path} (mode {mode:04o}), so it is not used: "
            f"chmod 600 {path}, and if anyone may have read it, make another one"
        )


def _write(descriptor: int, text: str, mode: int) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)  # whatever the user's mask is
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
