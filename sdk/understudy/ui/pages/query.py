"""The page for questions in SQL, and their answers as files."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import QueryParams

from understudy.ui.inquiries import check_sees_all
from understudy.ui.query_text import EXAMPLES
from understudy.ui.ui import Ui
from understudy.ui.view import View
from understudy_store.errors import StoreError
from understudy_store.inquiry.base import ROWS_MAX, TIME_MAX_S, Answer, Cell

#: columns whose texts are ids
_IDS: Final = frozenset({"id", "origin", "branch", "promise_id", "awaited", "awaiter"})


async def query(ui: Ui, query: QueryParams) -> View:
    """Show the form for a question, its answer, and what tables there are."""
    sql = query.get("sql", "").strip()
    context: dict[str, Any] = {
        "sql": sql,
        "wrong": "",
        "answer": None,
        "examples": EXAMPLES,
        "store": "" if ui.inquiries.inquirer is None else ui.inquiries.inquirer.name,
        "kind": ui.port.kind,
        "tables": _tables(),
        "rows_max": ROWS_MAX,
        "time_max_s": TIME_MAX_S,
    }
    if context["store"]:
        await _check_rights(ui)
        if sql:
            try:
                answer = await ui.inquiries.ask(sql)
            except StoreError as error:
                context["wrong"] = str(error)
            else:
                context["answer"] = _shown(answer)
    return View("query.html", "Query", context, here="/query", is_live=False)


async def answered(ui: Ui, query: QueryParams) -> Answer:
    """Return the answer to the question of a page.

    Raises
    ------
    StoreError, AwayError, RefusedError
    """
    await _check_rights(ui)
    return await ui.inquiries.ask(query.get("sql", ""))


async def _check_rights(ui: Ui) -> None:
    # Brokers decide about each command in the name of whoever has logged in. The store is read
    # past them, so it takes the right to see everything.
    if ui.gate is not None and not ui.is_offline:
        await check_sees_all(ui.port)


def _shown(answer: Answer) -> dict[str, Any]:
    ids = [name.lower() in _IDS for name in answer.columns]
    return {
        "columns": [
            (name, all(_is_number(row[at]) for row in answer.rows))
            for at, name in enumerate(answer.columns)
        ],
        "rows": [
            [_cell(value, is_id=is_id) for value, is_id in zip(row, ids, strict=True)]
            for row in answer.rows
        ],
        "is_whole": answer.is_whole,
        "count": len(answer.rows),
        "took_ms": round(answer.took_s * 1000),
    }


def _is_number(value: Cell) -> bool:
    return not isinstance(value, str)


def _cell(value: Cell, *, is_id: bool) -> dict[str, Any]:
    if value is None:
        return {"kind": "none", "text": "–"}
    if isinstance(value, str):
        return {"kind": "id" if is_id else "text", "text": value}
    return {"kind": "num", "text": str(value)}


def _tables() -> list[tuple[str, str]]:
    """Return the names of the tables, and of their columns."""
    # Imported here, because it needs a database's library, which other pages do not.
    from understudy_store.engines.sql.tables import METADATA

    return [
        (table.name, ", ".join(column.name for column in table.columns))
        for table in METADATA.sorted_tables
    ]
