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
#: Calls that begin a graph, 100,000 of them an hour, the last one now: 50 functions in 5 groups;
#: one in a hundred has failed, and the last 200 wait for a node.
_SHOP = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, param_data, value_headers, value_data, tags,
    timeout_at, created_at, settled_at, origin, slot, target, group_name, task_state, version,
    failures, deaths, node, started_at, acquired_at, queued_at, function, error)
SELECT printf('order-%07d', n),
    CASE WHEN n >= :count - 200 THEN 'pending' WHEN n % 100 THEN 'resolved' ELSE 'rejected' END,
    printf('{{"fn":"function_%d","at":"app.py:40","kind":"rpc"}}', n % 50), x'9105',
    CASE WHEN n % 100 OR n >= :count - 200 THEN '{{}}' ELSE '{{"error":"shop.Declined"}}' END,
    CASE WHEN n < :count - 200 THEN x'05' END, printf('{{"customer":"c%d"}}', n % 1000),
    :now + {24 * HOUR_MS}, :now - (:count - n) * 36,
    CASE WHEN n < :count - 200 THEN :now - (:count - n) * 36 + 20 + n % 2000 END,
    printf('order-%07d', n), slot_of(printf('order-%07d', n)), printf('poll://any@group-%d', n % 5),
    printf('group-%d', n % 5), iif(n < :count - 200, 'fulfilled', 'pending'), 1, 0, 0,
    printf('node-%d', n % 8), :now - (:count - n) * 36 + 2, :now - (:count - n) * 36 + 2,
    :now - (:count - n) * 36, printf('function_%d', n % 50),
    CASE WHEN n % 100 = 0 AND n < :count - 200 THEN 'shop.Declined' END
FROM numbers
"""
_WIDE_ROOT = f"""
INSERT INTO promise (id, state, param_headers, param_data, value_headers, tags, timeout_at,
    created_at, origin, slot, target, group_name, task_state, version, failures, deaths,
    started_at, acquired_at, queued_at, function)
VALUES ('wide', 'pending', '{{"fn":"fan_out","kind":"rpc"}}', x'90', '{{}}', '{{}}',
    :now + {24 * HOUR_MS}, :now - 60000, 'wide', slot_of('wide'), 'poll://any@group-0', 'group-0',
    'suspended', 1, 0, 0, :now - 59000, :now - 59000, :now - 60000, 'fan_out')
"""
#: of its children one in a thousand has failed, and one in a thousand waits for a node
_WIDE = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, param_data, value_headers, value_data, tags,
    timeout_at, created_at, settled_at, origin, branch, slot, target, group_name, task_state,
    version, failures, deaths, error)
SELECT printf('wide.%d', n + 1),
    CASE n % 1000 WHEN 1 THEN 'rejected' WHEN 2 THEN 'pending' ELSE 'resolved' END,
    '{{"fn":"price","at":"app.py:40","kind":"rfi"}}', x'9105',
    CASE n % 1000 WHEN 1 THEN '{{"error":"shop.Declined"}}' ELSE '{{}}' END,
    CASE WHEN n % 1000 <> 2 THEN x'05' END,
    '{{"understudy:target":"poll://any@group-1","understudy:origin":"wide",'
        || '"understudy:branch":"wide"}}',
    :now + {HOUR_MS}, :now - 50000 + n / 10, CASE WHEN n % 1000 <> 2 THEN :now - 30000 + n / 10 END,
    'wide', 'wide', slot_of('wide'), 'poll://any@group-1', 'group-1',
    iif(n % 1000 = 2, 'pending', 'fulfilled'), 1, 0, 0,
    CASE n % 1000 WHEN 1 THEN 'shop.Declined' END
FROM numbers
"""
_QUESTIONS = f"""
{_NUMBERS}
INSERT INTO promise (id, state, param_headers, param_data, value_headers, tags, timeout_at,
    created_at, origin, slot)
SELECT printf('question-%05d', n), 'pending', '{{}}', x'a7617070726f7665',
    '{{}}', '{{"understudy:external":"true"}}', :now + {24 * HOUR_MS}, :now - n,
    printf('question-%05d', n), slot_of(printf('question-%05d', n))
FROM numbers
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


def shop(path: Path, calls: int, children: int, questions: int) -> None:
    """Prepare a store as a busy shop has it, for which see the statements.

    Parameters
    ----------
    calls
        Calls that begin a call graph: ``order-0000000`` and so on.
    children
        Of the call ``wide``.
    questions
        Promises that wait for people.
    """
    _fill(path, calls, _SHOP, _WIDE_ROOT)
    _fill(path, children, _WIDE)
    _fill(path, questions, _QUESTIONS)


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
