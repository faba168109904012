"""Changes of the text of ``rights.toml``, which people write in as well. Pure.

A change touches the lines of one identity. The result is read again and compared with what was
meant, so a text that is written in an unusual way is refused rather than damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from understudy_broker.keys.errors import RightsError
from understudy_broker.keys.rights import Holder, Rights, check_identity, parse_rights

#: a file without identities
TEMPLATE: Final = """\
# Whose keys the broker takes, and what they may do. It reads this file again when it changes; if
# something in it is wrong, the file before stays in force, and the broker's log says why.
# To try it first: understudy keys check
#
# Nothing is permitted that no role permits. A role for one team among several may look so:
#
# [role.team-a]
# serve    = ["a-*"]         # be a node of these groups
# call     = ["a-*", "mail"] # make calls to these groups
# ids      = ["a/"]          # create, read and watch what has an id that begins so
# settle   = ["a/"]          # resolve and reject promises with such ids
# cancel   = ["a/"]          # cancel calls and promises with such ids
# search   = ["a/"]          # search among such ids
# schedule = ["a/"]          # create, read and delete schedules with such ids
#
# [identity."team-a/node-1"]
# key = "the public key, 40 characters, from: understudy keys new team-a/node-1 --role team-a"
# expires = 2027-01-01       # may be left out; from the beginning of that day in UTC on
# roles = ["team-a"]

# For a deployment of one team, and for its operators. Remove it where several teams share one.
[role.everything]
serve = ["*"]
call = ["*"]
ids = ["*"]
settle = ["*"]
cancel = ["*"]
search = ["*"]
schedule = ["*"]
admin = ["*"]
edge = ["*"]
"""
_TABLE: Final = re.compile(r"\s*\[")


def with_identity(text: str, holder: Holder) -> str:
    """Return the text with one identity more.

    Raises
    ------
    RightsError
        The text is wrong, it has this name or this key already, or the name is none.
    """
    check_identity(holder.identity)
    rights = parse_rights(text)
    if holder.identity in rights.grants:
        raise RightsError(
            f"identity {holder.identity!r} is there already; for another key of it use: understudy "
            "keys rotate"
        )
    lines = f"{text.rstrip()}\n\n{lines_of([holder])}".lstrip("\n")
    return _checked(lines, [*rights, holder])


def without_identity(text: str, name: str, note: str) -> str:
    """Return the text without an identity, and with a note in its place.

    Raises
    ------
    RightsError
        The text is wrong, it has no such identity, or it is written in an unusual way.
    """
    rights = parse_rights(text)
    own_holders(rights, name)
    return _replaced(text, name, f"# {note}", [each for each in rights if each.identity != name])


def with_new_key(text: str, name: str, key: str, old_until: int, now: int) -> str:
    """Return the text with another key of an identity, and the one so far as its old one.

    Parameters
    ----------
    old_until
        Until when the old key is taken as well, epoch milliseconds; no later than now: not at all.

    Raises
    ------
    RightsError
        The text is wrong, it has no such identity, or it is written in an unusual way.
    """
    rights = parse_rights(text)
    current = next(each for each in own_holders(rights, name) if not each.is_old)
    found = [current._replace(key=key)]
    if old_until > now:
        until = min(old_until, current.expires_at or old_until)
        found.append(current._replace(expires_at=until, is_old=True))
    others = [each for each in rights if each.identity != name]
    return _replaced(text, name, lines_of(found), [*others, *found])


def own_holders(rights: Rights, name: str) -> list[Holder]:
    """Return an identity's keys, the present one first; raises `RightsError` if it has none."""
    found = [each for each in rights if each.identity == name]
    if not found:
        raise RightsError(f"there is no identity {name!r}; to see all: understudy keys list")
    return sorted(found, key=lambda each: each.is_old)


def lines_of(holders: Iterable[Holder]) -> str:
    """Return the table of one identity, of its keys."""
    lines: list[str] = []
    for holder in sorted(holders, key=lambda each: each.is_old):
        if holder.is_old:
            assert holder.expires_at is not None
            lines += [f'old_key = "{holder.key}"', f"old_until = {_time(holder.expires_at)}"]
            continue
        lines += [f'[identity."{holder.identity}"]', f'key = "{holder.key}"']
        if holder.expires_at is not None:
            lines.append(f"expires = {_time(holder.expires_at)}")
        if holder.roles:
            roles = ", ".join(f'"{role}"' for role in holder.roles)
            lines.append(f"roles = [{roles}]")
    return "\n".join(lines) + "\n"


def _time(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    if moment.time().isoformat() == "00:00:00":
        return moment.date().isoformat()
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _replaced(text: str, name: str, lines: str, expected: Iterable[Holder]) -> str:
    """Replace the lines of one identity's table, up to the last one that is no comment."""
    quoted = re.escape(name)
    header = re.compile(rf"""\s*\[\s*identity\s*\.\s*("{quoted}"|'{quoted}'|{quoted})\s*\]""")
    before = text.splitlines()
    at = next((number for number, line in enumerate(before) if header.match(line)), None)
    if at is None:
        raise _unusual(name)
    end = last = at + 1
    while end < len(before) and not _TABLE.match(before[end]):
        end += 1
        if before[end - 1].strip() and not before[end - 1].lstrip().startswith("#"):
            last = end
    after = [*before[:at], *lines.splitlines(), *before[last:]]
    try:
        return _checked("\n".join(after) + "\n", expected)
    except RightsError:
        raise _unusual(name) from None


def _checked(text: str, expected: Iterable[Holder]) -> str:
    # By the second, because that is what a text has.
    found = {each._replace(expires_at=_second(each)) for each in parse_rights(text)}
    if found != {each._replace(expires_at=_second(each)) for each in expected}:
        raise RightsError("the text would say something else than what is meant")
    return text


def _second(holder: Holder) -> int | None:
    return None if holder.expires_at is None else holder.expires_at // 1000


def _unusual(name: str) -> RightsError:
    return RightsError(
        f'identity {name!r} is not written as a table [identity."{name}"] of its own, so nothing '
        "was changed: edit the file by hand"
    )
