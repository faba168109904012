"""``understudy seal``: the keys that arguments, results and errors are encrypted with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.options import AsJson, Url
from understudy.cli.printing import err, out

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy_store.records import Value

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="The file of seal keys. [default: UNDERSTUDY_SEAL_KEYS]",
        show_default=False,
    ),
]
KeyId = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="ID",
        help="The id of the key, which is not secret. [default: a random one]",
        show_default=False,
    ),
]


@app.callback()
def seal() -> None:
    """Make the keys that values are encrypted with, and count which values need which key.

    Processes that have UNDERSTUDY_SEAL_KEYS encrypt arguments, results and errors before they send
    them. Brokers need no seal keys, and cannot read the values.

    \b
    Step by step:
      understudy seal new --file /etc/understudy/seal.keys
      export UNDERSTUDY_SEAL_KEYS=/etc/understudy/seal.keys
      understudy node app:runtime
    """


@app.command()
def new(file: File = None, id_: KeyId = None) -> int:
    """Make a key, and put it in front of the others of a file.

    The first key of the file seals from now on, in processes that are started then; the others
    still open what they have sealed. The file is made for this user alone (mode 0600). Bring it to
    those who read before those who write, or the readers do not have the key yet.

    \b
    Examples:
      understudy seal new --file /etc/understudy/seal.keys
      understudy seal new --file /etc/understudy/seal.keys --id 2027-01

    Exits with 2 if others can read the file or write to its folder.
    """
    from understudy.client.seal_keys import add_seal_key

    path = _path_of(file)
    is_first = not path.exists()
    made = add_seal_key(path, id_)
    out(f"{made} seals now, first in {path}")
    if is_first:
        err("keep a copy of the file: without its keys nobody can read what they have sealed")
    return 0


@app.command()
def status(file: File = None, as_json: AsJson = False, url: Url = None) -> int:
    """Count the stored values by the key that they are sealed with.

    A key that no value needs any more can be removed from the file. All promises and schedules are
    read for that, as they are stored.

    --json prints one object: the number of values by key, those that are not sealed, and the ids of
    the keys in the file, in their order.

    \b
    Example:
      understudy seal status --file /etc/understudy/seal.keys
    """
    from understudy.cli.client import Client
    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table

    own = _own_ids(file)
    with Client(url, opens=False) as client:
        counts = _count(_values(client))
    unsealed = counts.pop("", 0)
    counts = {id_: counts.pop(id_, 0) for id_ in own} | dict(sorted(counts.items()))
    if as_json:
        print_json({"keys": counts, "unsealed": unsealed, "file": own})
        return 0
    rows = [(id_, f"{count:,}", _use(id_, own)) for id_, count in counts.items()]
    rows.append(("(not sealed)", f"{unsealed:,}", "-"))
    out(table(["KEY", "VALUES", "HERE"], rows))
    return 0


def _path_of(file: Path | None) -> Path:
    import os

    from understudy.client.seal_keys import SEAL_KEYS_ENV
    from understudy_broker.keys.key_files import find

    named = os.environ.get(SEAL_KEYS_ENV, "")
    if file is None and not named:
        from understudy.cli.errors import UsageError

        raise UsageError(f"name the file of seal keys, with --file or in {SEAL_KEYS_ENV}")
    return file if file is not None else find(named)


def _own_ids(file: Path | None) -> list[str]:
    """Return the ids of the keys in the file, if one is named."""
    import os

    from understudy.client.seal_keys import SEAL_KEYS_ENV, read_seal_keys

    if file is None and not os.environ.get(SEAL_KEYS_ENV):
        return []
    return [key.id for key in read_seal_keys(_path_of(file))]


def _use(id_: str, own: list[str]) -> str:
    if id_ not in own:
        return "missing" if own else "-"
    return "seals" if id_ == own[0] else "opens"


def _values(client: Client) -> Iterable[Value]:
    for promise in client.promises():
        yield promise.param
        yield promise.value
    for schedule in client.schedules():
        yield schedule.promise_param


def _count(values: Iterable[Value]) -> dict[str, int]:
    """Return the number of values for each key; for an empty id, those that are not sealed."""
    from understudy.values.seals import is_sealed, key_id

    counts: dict[str, int] = {}
    for value in values:
        if value.data is not None:
            id_ = (key_id(value.data) or "(damaged)") if is_sealed(value.data) else ""
            counts[id_] = counts.get(id_, 0) + 1
    return counts
