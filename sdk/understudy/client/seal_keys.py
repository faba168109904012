"""The seal keys of this process: a file of secrets, which nobody else may read."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from understudy import extras
from understudy.errors import ConfigurationError
from understudy.values.seals import ID_CHARS_MAX, SECRET_BYTES, Sealer, SealKey, is_id

#: the variable that names the file
SEAL_KEYS_ENV: Final = "UNDERSTUDY_SEAL_KEYS"
#: the variable that has values refused which are not sealed
SEAL_REQUIRED_ENV: Final = "UNDERSTUDY_SEAL_REQUIRED"
_HEAD: Final = (
    "# Seal keys: the first seals values, and all of them open what they have sealed. Whoever can\n"
    "# read this file can read the values. Do not remove a key before `understudy seal status`\n"
    "# says that no value needs it.\n"
)


def process_sealer(
    given: str | None = None,
    required: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Sealer | None:
    """Read the seal keys of this process; return None if it has none.

    Parameters
    ----------
    given
        The path of the file, or the name of a systemd credential; None: as UNDERSTUDY_SEAL_KEYS
        says. Empty: none.
    required
        Whether values that are not sealed are refused; None: as UNDERSTUDY_SEAL_REQUIRED says.

    Raises
    ------
    ConfigurationError
        The file cannot be used, or others can read it; there is none, and sealed values are
        required; or the library for it is not installed.
    """
    name = environ.get(SEAL_KEYS_ENV, "") if given is None else given
    if required is None:
        required = _flag(environ.get(SEAL_REQUIRED_ENV, ""))
    if not name:
        if required:
            raise ConfigurationError(
                f"only sealed values are to be taken ({SEAL_REQUIRED_ENV}), and there are no seal "
                f"keys: name their file in {SEAL_KEYS_ENV}"
            )
        return None
    if module := extras.missing("cryptography"):
        raise ConfigurationError(extras.advice("sealing", module, "seal"))
    from understudy_broker.keys.key_files import find

    return Sealer(read_seal_keys(find(name, environ)), required=required)


def read_seal_keys(path: Path) -> list[SealKey]:
    """Read the keys of a file, the one that seals first.

    Raises
    ------
    ConfigurationError
        The file cannot be used, or others can read it.
    """
    from understudy_broker.keys.key_files import KeyFileError, read_secret_text

    try:
        text = read_secret_text(path)
    except KeyFileError as error:
        raise ConfigurationError(str(error)) from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # The error would show a line of the file.
        raise ConfigurationError(f"{path} is not valid TOML, so it has no seal keys") from None
    found = raw.get("key")
    if not isinstance(found, list) or not found or raw.keys() != {"key"}:
        raise ConfigurationError(
            f"{path} has no seal keys: name the file that understudy seal new has written"
        )
    keys = [_key_of(path, number, each) for number, each in enumerate(found, 1)]
    if len({key.id for key in keys}) < len(keys):
        raise ConfigurationError(f"{path}: two keys have one id, so nobody knows which one opens")
    return keys


def add_seal_key(path: Path, id_: str | None = None) -> str:
    """Make a key and put it in front of the others of a file, which is made if it is not there.

    Returns
    -------
    str
        The id of the new key.

    Raises
    ------
    ConfigurationError
        The file or its folder cannot be used, or a key has that id already.
    """
    from understudy_broker.keys.key_files import KeyFileError, replace, write_new

    keys = read_seal_keys(path) if path.exists() else []
    new = SealKey(f"k-{secrets.token_hex(4)}" if id_ is None else id_, os.urandom(SECRET_BYTES))
    if not is_id(new.id):
        raise ConfigurationError(
            f"id {new.id!r}: letters, digits and . _ - are allowed, up to {ID_CHARS_MAX}"
        )
    if any(key.id == new.id for key in keys):
        raise ConfigurationError(f"{path} has a key {new.id!r} already: give the new one another")
    text = _text_of([new, *keys])
    try:
        if keys:
            replace(path, text)
        else:
            write_new(path, text, mode=0o600)
    except KeyFileError as error:
        raise ConfigurationError(str(error)) from None
    return new.id


def seal_variables(given: str | None, required: bool | None) -> dict[str, str]:
    """Return what the environment of a child has to say of seal keys, beyond this process's own."""
    found = {} if given is None else {SEAL_KEYS_ENV: given}
    return found if required is None else found | {SEAL_REQUIRED_ENV: "1" if required else "0"}


def _key_of(path: Path, number: int, raw: Any) -> SealKey:
    if isinstance(raw, dict) and raw.keys() == {"id", "secret"}:
        id_, text = raw["id"], raw["secret"]
        if isinstance(id_, str) and is_id(id_) and isinstance(text, str):
            with suppress(binascii.Error, ValueError):
                secret = base64.b64decode(text, validate=True)
                if len(secret) == SECRET_BYTES:
                    return SealKey(id_, secret)
    raise ConfigurationError(
        f"{path}: key {number} is no seal key: it has an id, and a secret of {SECRET_BYTES} bytes "
        "in base64"
    )


def _text_of(keys: Sequence[SealKey]) -> str:
    tables = (
        f'\n[[key]]\nid = "{key.id}"\nsecret = "{base64.b64encode(key.secret).decode()}"\n'
        for key in keys
    )
    return _HEAD + "".join(tables)


def _flag(text: str) -> bool:
    if text.lower() in ("", "0", "false", "no"):
        return False
    if text.lower() in ("1", "true", "yes"):
        return True
    raise ConfigurationError(f"{SEAL_REQUIRED_ENV}={text!r}: it must be 1 or 0")
