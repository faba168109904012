"""``understudy keys``: the keys of a broker and of its peers, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.options import AsJson
from understudy.cli.printing import err, out, printable_line

if TYPE_CHECKING:
    from understudy.cli.errors import UsageError
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights import Holder

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)

Folder = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER",
        envvar="UNDERSTUDY_BROKER__KEYS",
        show_envvar=False,
        help="The folder of the broker's keys. [default: UNDERSTUDY_BROKER__KEYS, else keys]",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The identity, such as team-a/node-1.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="The new file of the secret key. [default: in FOLDER, NAME.key with . for /]",
        show_default=False,
    ),
]
Expires = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The first day on which the key is not taken, in UTC: 2027-01-01."
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help="A role of rights.toml. May be repeated."),
]
Print = Annotated[
    bool,
    typer.Option("--print", help="Print the lines for rights.toml, instead of adding them to it."),
]
Overlap = Annotated[
    str,
    typer.Option(metavar="TIME", help="How long the key so far is taken as well: 0s, 90m, 24h."),
]
_FOLDER = Path("keys")


@app.callback()
def keys() -> None:
    """Make, show and revoke the keys of a broker and of its peers.

    A broker with keys takes only peers whose public keys its rights.toml has, and all traffic is
    encrypted. These commands work on files. A broker reads its rights.toml again within a second.

    \b
    Step by step:
      understudy keys init --folder /etc/understudy/keys
      understudy keys new node-1 --role everything --folder /etc/understudy/keys
      understudy broker --listen tcp://10.0.0.5:5577 --keys /etc/understudy/keys

    \b
    and on the machine of the node, with its key file and broker.pub:
      export UNDERSTUDY_KEY=/etc/understudy/node.key
      export UNDERSTUDY_BROKER_KEY=/etc/understudy/broker.pub
      understudy node app:runtime --url tcp://10.0.0.5:5577

    What an identity may do, its roles say, which are tables in rights.toml: see docs/security.md.
    """


@app.command()
def init(folder: Folder = _FOLDER) -> int:
    """Make the keys of a broker, and a rights.toml with the role "everything" and no identities.

    \b
    broker.key   the secret key, for this user alone (mode 0600)
    broker.pub   the public key, which every peer needs
    rights.toml  whose keys the broker takes, and what they may do

    Several brokers of one deployment have the same folder, or copies of it.

    \b
    Example:
      understudy keys init --folder /etc/understudy/keys

    Exits with 1 if there are keys already, or if others can write to the folder.
    """
    from understudy_broker.keys.key_files import BROKER_PUBLIC
    from understudy_broker.keys.key_folder import KeyFolder

    public = KeyFolder(folder).create()
    out(f"made {folder}; the broker's public key, also in {folder / BROKER_PUBLIC}:")
    out(public)
    return 0


@app.command()
def new(
    name: Name,
    folder: Folder = _FOLDER,
    file: Out = None,
    expires: Expires = None,
    role: Roles = None,
    print_lines: Print = False,
) -> int:
    """Make a key, and let the broker take it, with the roles that it is given.

    The secret key is written to a file for this user alone (mode 0600): bring it to the machine of
    the peer, and name it there in UNDERSTUDY_KEY. Its identity is added to rights.toml.

    With --print, only the file is written, and the lines are printed: so a peer makes its own key,
    and its secret never leaves its machine.

    \b
    Examples:
      understudy keys new node-1 --role everything
      understudy keys new team-a/node-1 --role team-a --expires 2027-01-01
      understudy keys new team-a/node-1 --print --out /etc/understudy/node.key

    Exits with 1 if there is such a file or identity already, if rights.toml has no such role, or if
    others can write to the folder.
    """
    from understudy_broker.keys.key_files import new_pair, write_pair
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights import Holder, check_identity
    from understudy_broker.keys.rights_text import lines_of, with_identity

    path = _file_of(check_identity(name), folder) if file is None else file
    if not role and not print_lines:
        raise _which_role(KeyFolder(folder))
    pair = new_pair(name)
    holder = Holder(name, pair.public, parse_date(expires), tuple(role or ()))
    write_pair(path, pair)
    if print_lines:
        err(f"the secret key is in {path}; for the rights.toml of the broker:")
        out(lines_of([holder]).rstrip())
        return 0
    keys = KeyFolder(folder)
    try:
        keys.change(lambda text: with_identity(text, holder))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    out(f"made {path}; {name} is in {keys.rights_path}")
    return 0


@app.command("list")
def list_keys(folder: Folder = _FOLDER, as_json: AsJson = False) -> int:
    """List the identities with their keys.

    --json prints a list of objects.

    \b
    Example:
      understudy keys list --folder /etc/understudy/keys
    """
    from understudy.cli.json_data import print_json
    from understudy.cli.tables import table
    from understudy.cli.times import now_ms
    from understudy_broker.keys.key_folder import KeyFolder

    holders = sorted(KeyFolder(folder).read(), key=lambda each: (each.identity, each.is_old))
    now = now_ms()
    if as_json:
        print_json([_data(holder, now) for holder in holders])
    elif not holders:
        out("There are no identities. Make one with: understudy keys new NAME")
    else:
        rows = [_row(holder, now) for holder in holders]
        out(table(("IDENTITY", "KEY", "STATE", "EXPIRES", "ROLES"), rows))
    return 0


@app.command()
def show(name: Name, folder: Folder = _FOLDER, as_json: AsJson = False) -> int:
    """Show one identity, as it stands in rights.toml.

    --json prints a list of objects, one for each key.

    \b
    Example:
      understudy keys show team-a/node-1

    Exits with 1 if there is none of this name.
    """
    from understudy.cli.json_data import print_json
    from understudy.cli.times import now_ms
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights_text import lines_of, own_holders

    holders = own_holders(KeyFolder(folder).read(), name)
    if as_json:
        print_json([_data(holder, now_ms()) for holder in holders])
    else:
        out(lines_of(holders).rstrip())
    return 0


@app.command()
def revoke(name: Name, folder: Folder = _FOLDER) -> int:
    """Let the broker take an identity's keys no longer.

    The identity is removed from rights.toml, where a comment stays. Brokers that run with this
    folder on this machine are told at once: they end the identity's connections, and give its tasks
    to others. Brokers elsewhere notice it within a second of their file being replaced.

    \b
    Example:
      understudy keys revoke team-a/node-1

    Exits with 1 if there is none of this name, or if a broker that runs keeps the rights it has.
    """
    from understudy.cli.times import moment, now_ms
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights_text import without_identity

    keys = KeyFolder(folder)
    note = f"revoked {moment(now_ms())} UTC: {name}"
    keys.change(lambda text: without_identity(text, name, note))
    out(f"{name} is no longer in {keys.rights_path}")
    return 1 if _tell_brokers(keys) is False else 0


@app.command()
def rotate(name: Name, folder: Folder = _FOLDER, file: Out = None, overlap: Overlap = "24h") -> int:
    """Make another key of an identity; the one so far is taken for a while as well.

    Bring the new file to the peer, and start it again, before the overlap ends.

    \b
    Examples:
      understudy keys rotate team-a/node-1 --out node-1.new.key
      understudy keys rotate team-a/node-1 --out node-1.new.key --overlap 0s

    Exits with 1 if there is none of this name, or if the file is there already.
    """
    from understudy.cli.times import moment, now_ms, parse_seconds
    from understudy_broker.keys.key_files import new_pair, write_pair
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights import check_identity
    from understudy_broker.keys.rights_text import with_new_key

    seconds = parse_seconds(overlap, "--overlap")
    assert seconds is not None
    now = now_ms()
    until = now + round(seconds * 1000)
    path = _file_of(check_identity(name), folder) if file is None else file
    pair = new_pair(name)
    write_pair(path, pair)
    try:
        KeyFolder(folder).change(lambda text: with_new_key(text, name, pair.public, until, now))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    out(f"made {path}; the key so far is taken until {moment(until)} UTC")
    return 0


@app.command("rotate-broker")
def rotate_broker(
    folder: Folder = _FOLDER,
    overlap: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long peers are given to learn the new key: 7d."),
    ] = "7d",
    complete: Annotated[
        bool, typer.Option("--complete", help="Forget the key that was replaced.")
    ] = False,
) -> int:
    """Make another key of the brokers, which they have from the end of an overlap on.

    \b
    1. understudy keys rotate-broker --overlap 7d
       From now on broker.pub has two lines, the key so far and the next one. Bring it to all peers
       within the overlap, and copy the folder to all brokers. Peers need not be started again: they
       read their file when a broker does not answer to the key they have.
    2. When the overlap is over, start the brokers again, one after the other. Each has the new key.
    3. understudy keys rotate-broker --complete
       The old key is gone. A peer that knows no other is refused, and told why.

    \b
    Examples:
      understudy keys rotate-broker --overlap 7d
      understudy keys rotate-broker --complete

    Exits with 1 if another rotation is not completed, or if this one is not due yet.
    """
    from understudy.cli.times import moment, now_ms, parse_seconds
    from understudy_broker.keys.key_files import BROKER_PUBLIC
    from understudy_broker.keys.key_folder import KeyFolder

    keys, public = KeyFolder(folder), folder / BROKER_PUBLIC
    if complete:
        keys.complete_rotation(now_ms())
        out(f"{public} has the new key alone: bring it to all peers, and the folder to all brokers")
        return 0
    seconds = parse_seconds(overlap, "--overlap")
    assert seconds is not None
    since = now_ms() + round(seconds * 1000)
    keys.rotate_broker(since)
    out(f"bring {public}, which has both keys now, to all peers, and the folder to all brokers;")
    out(f"brokers that start after {moment(since)} UTC have the new key")
    return 0


@app.command()
def reload(folder: Folder = _FOLDER) -> int:
    """Have the brokers on this machine read their rights now, and say whether they have them.

    The file is checked whole first, as by: understudy keys check. A broker reads a changed file by
    itself within a second; this waits for it, and tells how it went.

    \b
    Example:
      understudy keys reload --folder /etc/understudy/keys

    Exits with 0 if each broker that runs with this folder on this machine has these rights, and
    with 1 if the file is wrong, if a broker does not take it, or if none runs.
    """
    from understudy_broker.keys.key_folder import KeyFolder

    keys = KeyFolder(folder)
    keys.check()
    told = _tell_brokers(keys)
    if told is None:
        err(f"no broker on this machine runs with {folder}")
    return 0 if told else 1


@app.command()
def check(folder: Folder = _FOLDER) -> int:
    """Check a folder of keys as a broker would, and say what in it is probably not meant.

    It names keys that have expired, identities without roles, roles that nobody has, and groups
    that may be called and that nobody may serve.

    \b
    Example:
      understudy keys check --folder /etc/understudy/keys

    Exits with 1 if a broker would refuse it.
    """
    from understudy.cli.times import moment, now_ms
    from understudy_broker.keys.key_folder import KeyFolder
    from understudy_broker.keys.rights import notes_on

    keys = KeyFolder(folder)
    rights = keys.check()
    expired = [each for each in rights if each.is_expired(now_ms())]
    for holder in expired:
        what = "the old key" if holder.is_old else "the key"
        out(printable_line(f"{what} of {holder.identity} expired {moment(holder.expires_at)} UTC"))
    for note in notes_on(rights):
        out(printable_line(note))
    count = len(rights.grants)
    out(f"{keys.rights_path} is right: {count} {'identity' if count == 1 else 'identities'}")
    return 0


def _which_role(keys: KeyFolder) -> UsageError:
    from understudy.cli.errors import UsageError

    roles = ", ".join(keys.read().roles)
    there = f"has the roles {roles}" if roles else "has none yet"
    return UsageError(
        f"--role: without a role an identity may do nothing. {keys.rights_path} {there}; another "
        "one is a table [role.NAME] in it"
    )


def _tell_brokers(keys: KeyFolder) -> bool | None:
    """Have the brokers on this machine read the rights; return whether all have them.

    None: there is no broker.
    """
    from understudy_broker.keys.reload_socket import ask_brokers

    answers = ask_brokers(keys.path)
    digest = keys.digest()
    for answer in answers:
        broker = printable_line(f"broker {answer.broker} (process {answer.process})")
        if answer.refused is not None:
            err(f"{broker} keeps the rights that it had: {printable_line(answer.refused)}")
        elif answer.digest != digest:
            err(f"{broker} has other rights: the file has changed meanwhile")
        else:
            out(f"{broker} has these rights")
    return all(each.digest == digest for each in answers) if answers else None


def _file_of(name: str, folder: Path) -> Path:
    return folder / f"{name.replace('/', '.')}.key"


def parse_date(text: str | None) -> int | None:
    """Return the beginning of a day in UTC, epoch milliseconds."""
    from datetime import UTC, datetime

    from understudy.cli.errors import UsageError

    if text is None:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--expires {text!r} is no day: write it as 2027-01-01") from None
    return int(day.timestamp() * 1000)


def _state(holder: Holder, now: int) -> str:
    if holder.is_expired(now):
        return "expired"
    return "old" if holder.is_old else "valid"


def _row(holder: Holder, now: int) -> tuple[object, ...]:
    from understudy.cli.times import moment

    roles = printable_line(", ".join(holder.roles)) or None
    return (holder.identity, holder.key, _state(holder, now), moment(holder.expires_at), roles)


def _data(holder: Holder, now: int) -> dict[str, Any]:
    return {
        "identity": holder.identity,
        "key": holder.key,
        "state": _state(holder, now),
        "expires_at": holder.expires_at,
        "roles": list(holder.roles),
    }
