"""Completion in shells: the groups, ids and states that are offered for a word.

The broker is asked for a moment only, and a failure of any kind offers nothing: the person is
typing, and the shell shows no messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

import typer

from understudy_store.records import PROMISE_WORDS, TASK_WORDS

#: seconds in which a broker must answer
PATIENCE_S: Final = 0.5
#: ids that are offered at most
IDS_MAX: Final = 50

if TYPE_CHECKING:
    from understudy.cli.client import Client


def groups(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the groups that the broker knows."""
    return _ask(ctx, incomplete, lambda client: [group.name for group in client.groups().groups])


def promise_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the first ids of promises that begin so."""
    return _ask(
        ctx,
        incomplete,
        lambda client: [p.id for p in client.promises(prefix=incomplete, limit=IDS_MAX)],
    )


def schedule_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the first ids of schedules that begin so."""
    return _ask(
        ctx,
        incomplete,
        lambda client: (schedule.id for schedule in islice(client.schedules(incomplete), IDS_MAX)),
    )


def promise_states(incomplete: str) -> list[str]:
    """Return the states of promises."""
    return [state for state in PROMISE_WORDS.values() if state.startswith(incomplete)]


def task_states(incomplete: str) -> list[str]:
    """Return the states of tasks."""
    return [state for state in TASK_WORDS.values() if state.startswith(incomplete)]


def _ask(ctx: typer.Context, incomplete: str, read: Callable[[Client], Iterable[str]]) -> list[str]:
    from understudy.cli.client import Client

    try:
        with Client(ctx.params.get("url"), PATIENCE_S, more_advice=None) as client:
            client.connect()
            return [text for text in read(client) if text.startswith(incomplete)][:IDS_MAX]
    except Exception:
        return []
