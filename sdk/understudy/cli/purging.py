"""A purge, slice by slice, with its progress."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec.structs import replace

from understudy.cli.client import Client
from understudy.cli.json_data import print_json
from understudy.cli.printing import err, out, printable_line
from understudy_store.commands import PromisePurge

#: call graphs between two reports on the progress
_TOLD: Final = 6_400


def purge_all(command: PromisePurge, *, as_json: bool, url: str | None) -> int:
    """Delete all that a purge is about, and tell how much that was."""
    graphs = promises = 0
    kept: Counter[str] = Counter()
    seen: set[str] = set()
    told = _TOLD
    verb = "would be deleted" if command.dry_run else "deleted"
    with Client(url) as client:
        cursor: str | None = None
        while True:
            reply = client.command(replace(command, cursor=cursor))
            for each in reply.purged or ():
                promises += each.promises
                if each.id not in seen and each.kept is None:
                    graphs += 1
                elif each.id not in seen and each.kept is not None:
                    kept[each.kept] += 1
            # Of a large graph the slices follow one another.
            seen = {each.id for each in reply.purged or ()}
            stays = reply.cursor == cursor and not any(x.promises for x in reply.purged or ())
            cursor = reply.cursor
            if cursor is None or stays:
                break
            if graphs >= told and not as_json:
                told += _TOLD
                err(f"{graphs:,} call graphs {verb} so far", flush=True)
    if as_json:
        print_json({"graphs": graphs, "promises": promises, "kept": dict(kept)})
        return 0
    out(f"{graphs:,} call graphs with {promises:,} promises {verb}")
    for why, count in kept.most_common():
        out(printable_line(f"{count:,} kept: {why}"))
    return 0
