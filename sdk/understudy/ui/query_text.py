"""Example queries, and answers as files. Pure."""

from __future__ import annotations

import csv
import io
import json
from typing import Final, NamedTuple

from understudy_store.inquiry.base import Answer, Cell

#: what makes spreadsheets take a text for a formula
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: a day ago, by the store's own clock, in SQL that all stores understand
_A_DAY_AGO: Final = "(select cast(value as bigint) from meta where key = 'now') - 86400000"


class Example(NamedTuple):
    """A query to begin with."""

    title: str
    sql: str


EXAMPLES: Final = (
    Example(
        "The slowest functions of the last 24 hours",
        "select function, count(*) as calls,\n"
        "  cast(avg(settled_at - created_at) as bigint) as average_ms,\n"
        "  max(settled_at - created_at) as longest_ms\n"
        "from promise\n"
        f"where function is not null and settled_at is not null\n  and created_at > {_A_DAY_AGO}\n"
        "group by function order by average_ms desc limit 20",
    ),
    Example(
        "What failed in the last 24 hours, and how often",
        "select function, error, count(*) as calls, max(settled_at) as last_at\n"
        "from promise\n"
        "where function is not null\n"
        "  and state in ('rejected', 'rejected_canceled', 'rejected_timedout')\n"
        f"  and settled_at > {_A_DAY_AGO}\n"
        "group by function, error order by calls desc limit 50",
    ),
    Example(
        "The calls that have been pending for longest",
        "select id, function, group_name, task_state, node, created_at, cause\n"
        "from promise\n"
        "where function is not null and state = 'pending'\n"
        "order by created_at limit 50",
    ),
    Example(
        "Pending tasks by group and state",
        "select group_name, task_state, count(*) as tasks, min(created_at) as oldest_at\n"
        "from promise\n"
        "where state = 'pending' and target is not null\n"
        "group by group_name, task_state order by tasks desc",
    ),
    Example(
        "The largest call graphs of the last 24 hours",
        "select origin, count(*) as promises, min(created_at) as began_at\n"
        "from promise\n"
        f"where origin in (\n  select id from promise\n  where function is not null\n"
        f"    and created_at > {_A_DAY_AGO})\n"
        "group by origin order by promises desc limit 20",
    ),
    Example(
        "Attempts that ended badly, by node",
        "select node, how, count(*) as attempts, max(ended_at) as last_at\n"
        "from attempt group by node, how order by attempts desc limit 50",
    ),
    Example(
        "The largest arguments and results",
        "select id, length(param_data) as argument_bytes, length(value_data) as result_bytes\n"
        "from promise\n"
        "order by coalesce(length(param_data), 0) + coalesce(length(value_data), 0) desc limit 20",
    ),
)


def csv_text(answer: Answer) -> str:
    """Return an answer as CSV. A text that a spreadsheet takes for a formula gets a ``'``."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(map(_plain, answer.columns))
    writer.writerows(map(_plain, row) for row in answer.rows)
    return file.getvalue()


def _plain(value: Cell) -> Cell:
    is_formula = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if is_formula else value


def json_text(answer: Answer) -> str:
    """Return an answer as JSON: names of columns, rows, and whether those are all."""
    data = {
        "columns": answer.columns,
        "rows": answer.rows,
        "is_whole": answer.is_whole,
    }
    return json.dumps(data, ensure_ascii=False)
