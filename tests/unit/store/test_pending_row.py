"""Rows as they are stored: tags that columns have are left out, and none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.store.machine.strategies import rows
from tests.unit.store.samples import TARGET, row, targeted
from understudy_store.engines.sql.rows import PROMISE_COLUMNS, insert_values, row_of
from understudy_store.pending_row import (
    PENDING_COLUMNS,
    pending_row,
    texts_to_json,
    to_pending_row,
    whole_tags,
)
from understudy_store.records import PENDING, TAG_BRANCH, TAG_ORIGIN, TAG_TARGET, Row, TaskRecord

TAGS = PROMISE_COLUMNS.index("tags")
FAMILY = {TAG_ORIGIN: "a", TAG_BRANCH: "a.1"}


@given(rows("a") | rows('"'))
def test_whatever_is_stored_is_read(made: Row) -> None:
    [values] = insert_values([made])
    assert row_of(values) == made
    if made.promise.state == PENDING:
        by_name = dict(zip(PROMISE_COLUMNS, values, strict=True))
        found = pending_row([by_name[name] for name in PENDING_COLUMNS])
        assert found.row() == made
        assert replace(found, tags="") == replace(to_pending_row(made), tags="")


@given(st.dictionaries(st.text(), st.text()))
def test_what_looks_like_a_tag_within_another_one_is_none(tags: dict[str, str]) -> None:
    tags |= {"note": texts_to_json({**FAMILY, TAG_TARGET: "poll://any@h"}), **FAMILY}
    tags |= {f'{before}"{name}': "x" for name in (*FAMILY, TAG_TARGET) for before in ("", ",", "{")}
    made = targeted("a.1.1", **tags)
    assert row_of(insert_values([made])[0]) == made


def test_tags_of_a_child_are_in_its_columns() -> None:
    [values] = insert_values([targeted("a.1.1", customer="ann", **FAMILY)])
    assert values[TAGS] == '{"customer":"ann"}'


def test_what_columns_do_not_say_stays() -> None:
    made = row("a", **{TAG_ORIGIN: "a"})
    other = replace(made.promise, tags={TAG_TARGET: "any@g"})
    spelled = Row(other, TaskRecord("a", "pending", 0, TARGET))
    for each, tags in ((made, made.promise.tags), (spelled, other.tags)):
        [values] = insert_values([each])
        assert values[TAGS] == texts_to_json(tags)
        assert row_of(values) == each


def test_rows_with_the_very_same_tags_need_not_leave_out_the_same() -> None:
    tags = {TAG_ORIGIN: "a", TAG_TARGET: TARGET}
    child = targeted("a.1").promise
    family = [
        Row(replace(child, id=id_, tags=tags), TaskRecord(id_, "pending", 0, target))
        for id_, target in (
            ("a.1", TARGET),
            ("a", TARGET),
            ("a.2", TARGET),
            ("a.3", "poll://any@h"),
        )
    ]
    assert [row_of(values) for values in insert_values(family)] == family


def test_tags_of_an_older_store_stay_whole() -> None:
    tags = {"k": "1", **FAMILY, TAG_TARGET: "any@g"}
    assert whole_tags(texts_to_json(tags), "a.1.1", "a", "a.1", TARGET) == tags
