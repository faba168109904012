"""Large stores, prepared in SQL, because making them by calls would take minutes."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.slots import slot_of

HOUR_MS = 3_600_000
#: Calls in one call graph of the history.
GRAPH = 1_000

_NUMBERS = (
    "WITH RECURSIVE numbers(n) AS "
    "(SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)"
)
_SETTLED = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, param_data, value_headers, value_data, tags,
    timeout_at, created_at, settled_at, origin, branch, slot, target, group_name, task_state,
    version, failures, deaths)
SELECT printf('past-%06d.%d', n / {GRAPH}, n % {GRAPH} + 1), 'resolved',
    '{{"fn":"noop","at":"app.py:40","kind":"rfi"}}', x'9105', '{{}}', x'05',
    printf('{{"understudy:target":"poll://any@bench","understudy:origin":"past-%06d",'
        || '"understudy:branch":"past-%06d"}}', n / {GRAPH}, n / {GRAPH}),
    :now + {HOUR_MS}, :now - 1000, :now - 900, printf('past-%06d', n / {GRAPH}),
    printf('past-%06d', n / {GRAPH}), slot_of(printf('past-%06d', n / {GRAPH})),
    'poll://any@bench', 'bench', 'fulfilled', 1, 0, 0
FROM numbers
"""
_SLEEPERS = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, param_data, value_headers, tags, timeout_at,
    created_at, origin, slot, target, group_name, task_state, version, failures, deaths)
SELECT printf('sleeper-%06d', n), 'pending', '{{"fn":"nap","kind":"rpc"}}', x'90', '{{}}',
    '{{"understudy:target":"poll://any@bench"}}', :now + {24 * HOUR_MS}, :now,
    printf('sleeper-%06d', n), slot_of(printf('sleeper-%06d', n)),
    'poll://any@bench', 'bench', 'suspended', 1, 0, 0
FROM numbers
"""
_SLEEPS = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, value_headers, tags, timeout_at, created_at,
    origin, branch, slot)
SELECT printf('sleeper-%06d.1', n), 'pending', '{{"kind":"sleep","at":"app.py:50"}}', '{{}}',
    printf('{{"understudy:timer":"true","understudy:origin":"sleeper-%06d",'
        || '"understudy:branch":"sleeper-%06d"}}', n, n),
    :now + {HOUR_MS} + n, :now, printf('sleeper-%06d', n), printf('sleeper-%06d', n),
    slot_of(printf('sleeper-%06d', n))
FROM numbers
"""
_WAITS = f"""
{_NUMBERS}
INSERT INTO callback (awaited, awaiter, slot)
SELECT printf('sleeper-%06d.1', n), printf('sleeper-%06d', n),
    slot_of(printf('sleeper-%06d', n)) FROM numbers
"""


def settled(path: Path, count: int) -> None:
    """Prepare a store with the history of `count` calls."""
    _fill(path, count, _SETTLED)


def sleeping(path: Path, count: int) -> None:
    """Prepare a store in which `count` functions sleep: suspended task, sleep and callback each."""
    _fill(path, count, _SLEEPERS, _SLEEPS, _WAITS)


def timers(path: Path, count: int) -> None:
    """Prepare a store with `count` pending sleeps for which no task waits."""
    _fill(path, count, _SLEEPS)


def _fill(path: Path, count: int, *statements: str) -> None:
    SqliteEngine(path).close()
    if not count:
        return
    connection = sqlite3.connect(path)
    connection.create_function("slot_of", 1, slot_of, deterministic=True)
    try:
        values = {"count": count, "now": int(time.time() * 1000)}
        with connection:
            for statement in statements:
                connection.execute(statement, values)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()
