"""The files of the stores of a deployment's brokers, as a file with ``[[broker]]`` tables has them.

A relative path in the file is seen from where its broker runs: `understudy broker` runs in the
directory in which it was started, and `understudy up` runs brokers in the folder of the file, or in
their `cwd`. A command that looks for the stores knows neither, so it looks in both places.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from understudy.cli.errors import CliError, UsageError
from understudy_broker.deployment import DeploymentError, is_database, read_deployment


def store_files(file: Path) -> dict[str, Path]:
    """Return the file of each broker's store, whether it exists or not, by the broker's name.

    Raises
    ------
    UsageError
        The file cannot be read, has no ``[[broker]]`` tables, or they are wrong.
    CliError
        A path is that of a file in both places, or a store is no file.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    if not isinstance(raw.get("broker"), list):
        raise UsageError(f"{file} has no [[broker]] tables: name the file that has them")
    try:
        brokers = read_deployment(raw["broker"]).brokers
    except DeploymentError as error:
        raise UsageError(f"{file}: {error}") from None
    found = {}
    for broker in brokers:
        store = broker.settings["store"]
        if is_database(store):
            raise UsageError(
                f"{file}: the store of the broker {broker.name!r} is a database, and no file. "
                "Brokers that share a database share the slots out by themselves, when one of them "
                "is started or stopped"
            )
        if isinstance(store, str) and store != "memory":
            places = dict.fromkeys(_places(file, raw.get("cwd"), broker.cwd))
            found[broker.name] = _file(broker.name, store.removeprefix("sqlite:///"), list(places))
    return found


def file_of(store: str, folder: Path) -> Path | None:
    """Return the file of a store, whether it exists or not; None if it has none.

    Parameters
    ----------
    store
        As for a broker: memory, a path, or a URL.
    folder
        Where relative paths begin.

    Examples
    --------
    >>> file_of("sqlite:///calls.db", Path("/srv"))
    PosixPath('/srv/calls.db')
    >>> file_of("memory", Path("/srv")) is None
    True
    """
    if store == "memory" or is_database(store):
        return None
    return folder / Path(store.removeprefix("sqlite:///"))


def _places(file: Path, *folders: Any) -> Iterator[Path]:
    """Yield the directories in which the broker of a table may have been started."""
    yield Path.cwd()
    folder = file.parent
    for more in folders:
        if isinstance(more, str):
            folder = folder / more
    yield folder.resolve()


def _file(name: str, path: str, places: list[Path]) -> Path:
    candidates = list(
        dict.fromkeys((place / Path(path).expanduser()).resolve() for place in places)
    )
    existing = [each for each in candidates if each.exists()]
    if len(existing) > 1:
        raise CliError(
            f"the store of the broker {name!r} may be {' or '.join(map(str, existing))}: remove "
            "the one that is not in use, or write an absolute path into the file"
        )
    return (existing or candidates)[0]
