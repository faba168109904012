"""Retention in the core: what is due goes in slices, at a peer's wish or by the rules."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.retention import FIRST_MS, IDLE_MS, WHOLE_MS
from understudy_broker.core.survey import survey
from understudy_store.commands import PromiseGet, PromisePurge, PromiseSearch, PromiseSettle
from understudy_store.engines.base import Read
from understudy_store.records import RetentionRules

C = b"peer-c"
DAY = 86_400_000
RULES = RetentionRules(default=30 * DAY, idempotency=90 * DAY)


def joined(rig: Rig) -> None:
    """Join anew: an earlier session has ended in a long silence."""
    rig.pass_time(100)
    rig.join(C, f"c{rig.now}", kind="client")


def made(rig: Rig, count: int, name: str = "o") -> None:
    joined(rig)
    for number in range(count):
        rig.ask(C, rig.creation(f"{name}-{number}", in_ms=2**40))
        rig.ask(C, PromiseSettle(f"{name}-{number}", "resolved"))
    rig.turn()


def test_what_is_old_is_deleted_by_itself_and_its_id_stays_taken() -> None:
    rig = Rig(retention=RULES)
    made(rig, 200)
    rig.now += 29 * DAY
    rig.turn()
    joined(rig)
    assert rig.reply(C, PromiseGet("o-0")).status == 200
    rig.now += DAY
    rig.pass_time(3 * IDLE_MS, 1000)
    joined(rig)
    found = survey(rig.core, rig.now)
    assert (found.purged, found.purged_graphs) == (200, 200)
    assert 0 < rig.now - 1000 * found.purged_at_s < 3 * IDLE_MS
    assert rig.reply(C, rig.creation("o-7", in_ms=2**40)).status == 410
    assert rig.reply(C, PromiseSearch()).promises == []
    rig.now += 60 * DAY + WHOLE_MS
    rig.pass_time(3 * IDLE_MS, 1000)
    joined(rig)
    assert rig.reply(C, rig.creation("o-7", in_ms=2**40)).status == 201
    # Tombstones have gone, which are no promises.
    assert rig.core.searches.retention.purged == 200


def test_without_rules_nothing_is_looked_for() -> None:
    rig = Rig()
    made(rig, 1)
    rig.now += 400 * DAY
    rig.pass_time(2 * FIRST_MS, 1000)
    assert rig.core.searches.take() is None
    assert rig.core.searches.retention.due_at() is None


def test_peers_searches_go_first_and_slices_have_pauses() -> None:
    rig = Rig(retention=RetentionRules(default=0))
    made(rig, 130)
    retention = rig.core.searches.retention
    rig.now += FIRST_MS
    rig.turn()
    joined(rig)
    rig.ask(C, PromiseSearch())
    while rig.step().batch is not None:
        rig.commit()
    read = rig.core.searches.take()
    assert isinstance(read, Read)
    assert isinstance(read.command, PromiseSearch)
    rig.core.searches.answered(rig.engine.search(read, 1))
    sizes = []
    while retention.purged < 130:
        before = retention.purged
        rig.turn()
        if retention.purged > before:
            sizes.append(retention.purged - before)
        due_at = retention.due_at()
        assert due_at is not None
        rig.now = max(rig.now, due_at)
    assert max(sizes) <= 64


def test_a_peer_purges_in_pages() -> None:
    rig = Rig()
    made(rig, 5)
    rig.now += 10
    dry = rig.reply(C, PromisePurge(rig.now, dry_run=True))
    assert [(each.id, each.promises) for each in dry.purged or ()] == [
        (f"o-{number}", 1) for number in range(5)
    ]
    assert rig.reply(C, PromiseGet("o-0")).status == 200
    first = rig.reply(C, PromisePurge(rig.now, limit=3))
    assert len(first.purged or ()) == 3
    assert first.cursor is not None
    rest = rig.reply(C, PromisePurge(rig.now, limit=3, cursor=first.cursor))
    assert [each.id for each in rest.purged or ()] == ["o-3", "o-4"]
    assert rest.cursor is None
    # Without a rule about ids they are free.
    assert rig.reply(C, rig.creation("o-0")).status == 201


@pytest.mark.parametrize(
    "purge",
    [
        PromisePurge(0, limit=0),
        PromisePurge(0, limit=65),
        PromisePurge(0, cursor="x"),
        PromisePurge(0, states=("odd",)),
    ],
)
def test_nonsense_is_refused(purge: PromisePurge) -> None:
    rig = Rig()
    made(rig, 1)
    assert rig.reply(C, purge).status == 400
    assert rig.reply(C, PromiseGet("o-0")).status == 200


def test_a_store_keeps_to_its_bound() -> None:
    rig = Rig(retention=RetentionRules(max_rows=150, idempotency=None))
    made(rig, 300)
    rig.pass_time(FIRST_MS + 2 * IDLE_MS, 1000)
    assert rig.core.searches.retention.purged == 150
    made(rig, 20, "more")
    rig.pass_time(3 * IDLE_MS, 1000)
    joined(rig)
    left = rig.reply(C, PromiseSearch(limit=1000)).promises or []
    assert len(left) == 150
    assert rig.reply(C, PromiseGet("more-19")).status == 200


def test_a_year_stays_bounded() -> None:
    """A call each hour, for a year: what is kept is that of the last 30 and 90 days."""
    rig = Rig(retention=RULES)
    most = 0
    for day in range(365):
        made(rig, 24, f"d{day}")
        rig.now += DAY
        rig.pass_time(IDLE_MS, IDLE_MS // 4)
        most = max(most, len(rig.engine._rows))
    assert most < 24 * 100
    kept = [row for row in rig.engine._rows.values() if row.promise.timeout_at >= 0]
    assert len(kept) <= 24 * 32
