"""A program that commits to a store for ever, and logs what was acknowledged; `run` starts it.

Commit number n inserts a promise that says who made it, and settles the one of commit n - 1. So the
store is one chain, whoever wrote its links.
"""

from __future__ import annotations

import os

from tests.attending import commit_in_a_loop
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.postgres import connections, opening, pulse
from understudy_store.errors import StoreError, StoreFencedError
from understudy_store.records import Row
from understudy_store.store import open_store

#: exit codes: fenced, and whatever else ended the store
FENCED, FAILED = 3, 4


def link(number: int, by: str) -> Row:
    """The promise of a commit."""
    return row(f"p.{number}", by=by)


def main(url: str, log: str, lease_s: float) -> None:
    """Commit until something ends it: the process ends with `FENCED` or `FAILED` then."""
    # A broker here is given up sooner, and waits longer for the one that has the store.
    for module, name, value in (
        (opening, "LEASE_S", lease_s),
        (opening, "LIVE_S", 3600.0),
        (pulse, "BEAT_S", lease_s / 4),
        (journaled_table, "LAG_S", 0.05),
        (connections, "PATIENCE_S", 30.0),
    ):
        setattr(module, name, value)
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    by = str(os.getpid())
    try:
        store = open_store(url)
        number = store.snapshot.now
        before = [pending.row() for pending in store.snapshot.live]
        os.write(out, b"opened\n")
        while True:
            made = link(number, by)
            ended = [settled(each, number) for each in before]
            commit_in_a_loop(store, Changes(number + 1, inserted=[made], updated=ended))
            # Only now is anybody told.
            os.write(out, f"{number}\n".encode())
            if number % 7 == 0:
                assert [each.promise.id for each in store.find([f"p.{number}", "x"])]
            before, number = [made], number + 1
    except StoreError as error:
        cause = error.__cause__ or error
        os.write(out, f"{type(cause).__name__}: {cause}\n".encode())
        os._exit(FENCED if isinstance(cause, StoreFencedError) else FAILED)
