"""Questions in SQL are answered within bounds, and change nothing, whatever they are."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from understudy import Never, Runtime
from understudy.ui.query_text import EXAMPLES
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.errors import StoreAddressError
from understudy_store.inquiry import base
from understudy_store.inquiry.base import Inquirer, InquiryError
from understudy_store.inquiry.opening import open_inquirer

if TYPE_CHECKING:
    from tests.cluster import Cluster

ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c)"


def fill(url: str) -> None:
    """Make calls of several kinds."""
    runtime = Runtime(group="g", url=url, retry=Never())

    @runtime.register
    def pay(ctx: object, cents: int) -> int:
        if cents > 2:
            raise ValueError("too much")
        return cents

    with runtime:
        handles = [runtime.rpc(f"pay-{cents}", pay, cents) for cents in range(4)]
        assert [handle.result(timeout=30) for handle in handles[:3]] == [0, 1, 2]
        with pytest.raises(ValueError, match="too much"):
            handles[3].result(timeout=30)


def with_reader(cluster: Cluster, url: str) -> str:
    """Make a role that may read the store and nothing else; return the URL with that."""
    schema = url.rpartition("=")[2]
    with pytest.raises(InquiryError, match="is a superuser"):
        open_inquirer(url).ask("select 1")
    with cluster.admin() as connection:
        connection.execute(
            f"create role {schema}_reader login; grant usage on schema {schema} to {schema}_reader;"
            f"grant select on all tables in schema {schema} to {schema}_reader".encode()
        )
    before, _, after = url.partition("@")
    return f"{before.rpartition('/')[0]}/{schema}_reader@{after}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def inquirer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inquirer]:
    """The inquirer of a store that a broker has open."""
    cluster: Cluster
    if request.param == "sqlite":
        url = str(tmp_path_factory.mktemp("inquiry") / "calls.db")
    else:
        cluster = request.getfixturevalue("postgres")
        url = cluster.new_schema()
    with EmbeddedBroker(url) as broker:
        fill(broker.endpoint)
        found = open_inquirer(url if request.param == "sqlite" else with_reader(cluster, url))
        give_up_at = time.monotonic() + 30
        while len(found.ask("select id from promise where settled_at > 0").rows) < 4:
            assert time.monotonic() < give_up_at, "the tables have not got the calls"
            time.sleep(0.02)
        yield found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_examples_are_answered(inquirer: Inquirer, example: tuple[str, str]) -> None:
    answer = inquirer.ask(example[1])
    assert answer.is_whole
    assert bool(answer.rows) is ("pending" not in example[0].lower())


def test_values_are_shown_and_bytes_only_counted(inquirer: Inquirer) -> None:
    query = "select id, created_at > 0 as late, param_data, cause from promise where id = 'pay-1';"
    answer = inquirer.ask(f"{query} ")
    assert answer.columns == ("id", "late", "param_data", "cause")
    [(id_, late, data, cause)] = answer.rows
    assert (id_, bool(late), cause) == ("pay-1", True, None)
    assert isinstance(data, str)
    assert data.endswith(" bytes)")
    assert inquirer.ask("select 1 as a, 2 as a -- twice").columns == ("a", "a")
    assert inquirer.ask("values (1), (2)").rows[1] == (2,)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from promise",
        "update meta set value = 'x'",
        "insert into meta values ('a', 'b') returning key",
        "with gone as (delete from promise returning id) select * from gone",
        "create table x (a int)",
        "create temporary table x (a int)",
        "drop table promise",
        "select 1; delete from promise",
        "select 1) as q; delete from promise; select * from (select 1",
        "commit",
        "begin",
        "attach 'other.db' as other",
        "pragma query_only = off",
        "pragma writable_schema = on",
        "vacuum into 'copy.db'",
        "select load_extension('x')",
        "copy promise to program 'cat'",
        "set transaction read write",
        "do $$ begin delete from promise; end $$",
        "select set_config('transaction_read_only', 'off', false)",
        "select * from promise for update",
        "select nextval('nothing')",
        "select nothing from promise",
        "  ; ",
        "select '\0'",
        f"select {'1' * 4001}",
        f"select {', '.join('1' * 101)}",
    ],
)
def test_whatever_is_no_read_is_refused_and_changes_nothing(
    inquirer: Inquirer, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InquiryError):
        inquirer.ask(statement)
    assert list(tmp_path.iterdir()) == []
    assert inquirer.ask("select count(*) from promise").rows == [(4,)]
    assert inquirer.ask("select count(*) from meta where value = 'x'").rows == [(0,)]


def test_time_rows_and_cells_have_bounds(
    inquirer: Inquirer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = inquirer.ask(f"{ENDLESS} select x from c limit 5000")
    assert (len(answer.rows), answer.is_whole) == (base.ROWS_MAX, False)
    long = f"'{'x' * 100}'"
    for _ in range(6):
        long = f"replace({long}, 'x', 'xx')"
    [(text,)] = inquirer.ask(f"select {long} as long").rows
    assert isinstance(text, str)
    assert len(text) == base.CELL_CHARS_MAX + 1
    monkeypatch.setattr(base, "CHARS_MAX", 100)
    assert len(inquirer.ask("select id from promise").rows) == 4
    monkeypatch.setattr(base, "CHARS_MAX", 10)
    answer = inquirer.ask("select id from promise")
    assert (len(answer.rows), answer.is_whole) == (2, False)
    monkeypatch.setattr(base, "TIME_MAX_S", 0.2)
    with pytest.raises(InquiryError, match="it takes longer than"):
        inquirer.ask(f"{ENDLESS} select sum(x) from c")


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(InquiryError, match="there is no store"):
        open_inquirer(f"sqlite:///{tmp_path}/absent.db").ask("select 1")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("create table x (a)")
    with pytest.raises(InquiryError, match="but no store"):
        open_inquirer(str(tmp_path / "other.db")).ask("select 1")
    (tmp_path / "text").write_text("no database", encoding="utf-8")
    with pytest.raises(InquiryError, match="file is not a database"):
        open_inquirer(str(tmp_path / "text")).ask("select 1")
    for url in ("memory", "mysql://me:secret@host/x", "sqlite:///"):
        with pytest.raises(StoreAddressError) as found:
            open_inquirer(url)
        assert "secret" not in str(found.value)
