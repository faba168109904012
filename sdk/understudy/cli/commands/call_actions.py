"""Subcommands of ``understudy calls`` that do something to many calls at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli import completion
from understudy.cli.bulk import Manner, act, require_condition
from understudy.cli.bulk_options import All, Cause, DryRun, Yes
from understudy.cli.call_filters import (
    CallFilters,
    ErrorClass,
    Failed,
    FunctionName,
    Group,
    Prefix,
    Running,
    Since,
    Slow,
    State,
    Until,
    state_words,
)
from understudy.cli.errors import UsageError
from understudy.cli.options import AsJson, Tags, Url

if TYPE_CHECKING:
    from understudy.repairs.plan import Action

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...",
        help="The ids of the calls, in the place of conditions.",
        autocompletion=completion.promise_ids,
    ),
]

_HELP: dict[Action, str] = {
    "cancel": """Cancel calls, with all that is pending in their call graphs.

    Chosen are calls that have not ended.

    \b
    Examples:
      understudy calls cancel --function checkout --since 1h
      understudy calls cancel --group shop --slow 1d --dry-run
      understudy calls cancel order-7 order-8 --yes
    """,
    "retry": """Have calls tried again at once whose last attempt has failed.

    Otherwise they would be tried when that is due. Chosen are calls that have not ended, and what
    is below them: a failed step of a call is retried with the others. --error and --cause are about
    what the attempt said. A call that has failed for good is not tried again; see restart.

    \b
    Examples:
      understudy calls retry --error ConnectionError
      understudy calls retry --function checkout --since 1h
      understudy calls retry order-7
    """,
    "continue": """Let calls go on that are parked or halted.

    Chosen are calls that have not ended, and what is below them: where a step of a call is parked,
    that goes on. --error and --cause are about why they are parked.

    \b
    Examples:
      understudy calls continue order-7
      understudy calls continue --function checkout --cause 'its holder vanished'
    """,
    "halt": """Halt calls: no node gets them until they are continued.

    Chosen are calls that have not ended. What they have called goes on; for that see
    understudy tasks halt --group. Their deadlines still count.

    \b
    Examples:
      understudy calls halt --function checkout
      understudy calls halt --group shop --tag customer=ann
    """,
    "resolve": """End calls with a value of yours, in the place of the one that they would have had.

    Chosen are calls that have not ended. For promises that wait for somebody outside see
    understudy promises resolve --prefix.

    \b
    Examples:
      understudy calls resolve --function notify --cause 'no such address' --value null
    """,
    "restart": """Make calls again that have ended, with the same function, arguments and options.

    Chosen are calls that raised, were late or were canceled; with --state resolved, others. The
    call of order-7 that is made is order-7-2, its tag understudy:restart-of says order-7, and it
    has as much time as that had. To restart a call twice makes one call; to restart order-7-2 makes
    order-7-3. Arguments that are encrypted are encrypted anew, which takes UNDERSTUDY_SEAL_KEYS.

    \b
    Examples:
      understudy calls restart --failed --function checkout --since 1h
      understudy calls restart --error ConnectionError --since 2026-01-31T08:00 --dry-run
      understudy calls restart order-7
    """,
}

_COMMON = """
    Conditions are those of understudy calls. First it says what will happen, and asks. What matches
    at the beginning is meant, and no call that is made later. Ctrl-C stops it between calls; the
    same command again goes on, because what is done is not done twice.

    --json prints one object: what matched, by group and function, and the numbers that were done,
    needed it no more ("already"), were refused, and are left, with reasons.

    \b
    Exit codes:
      1    some were refused, or nobody said yes
      2    wrong usage, or there is no terminal to ask at
      130  stopped by Ctrl-C
"""


def add_actions(app: typer.Typer) -> None:
    """Add the subcommands to ``understudy calls``."""
    for action, text in _HELP.items():
        command = _resolve if action == "resolve" else _command(action)
        app.command(action, help=text + _COMMON)(command)


def _command(action: Action) -> Callable[..., int]:
    def command(
        ids: Ids = None,
        running: Running = False,
        failed: Failed = False,
        state: State = None,
        since: Since = None,
        until: Until = None,
        function: FunctionName = None,
        group: Group = None,
        error: ErrorClass = None,
        cause: Cause = None,
        slow: Slow = None,
        prefix: Prefix = "",
        tag: Tags = None,
        all_: All = False,
        dry_run: DryRun = False,
        yes: Yes = False,
        as_json: AsJson = False,
        url: Url = None,
    ) -> int:
        words = state_words(running, failed, state)
        filters = CallFilters(words, since, until, function, group, error, slow, prefix, tag)
        manner = Manner(yes, dry_run, as_json)
        return _act(action, ids, filters, cause, manner, url, is_all=all_)

    return command


def _resolve(
    ids: Ids = None,
    value: Annotated[
        str | None, typer.Option(metavar="X", help="The value: JSON, or text. [default: null]")
    ] = None,
    running: Running = False,
    state: State = None,
    since: Since = None,
    until: Until = None,
    function: FunctionName = None,
    group: Group = None,
    error: ErrorClass = None,
    cause: Cause = None,
    slow: Slow = None,
    prefix: Prefix = "",
    tag: Tags = None,
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    from understudy.cli.options import parse_value

    words = state_words(running, failed=False, state=state)
    filters = CallFilters(words, since, until, function, group, error, slow, prefix, tag)
    data = None if value is None else parse_value(value)
    manner = Manner(yes, dry_run, as_json)
    return _act("resolve", ids, filters, cause, manner, url, is_all=all_, data=data)


def _act(
    action: Action,
    ids: list[str] | None,
    filters: CallFilters,
    cause: str | None,
    manner: Manner,
    url: str | None,
    *,
    is_all: bool,
    data: Any = None,
) -> int:
    from understudy.repairs.plan import states_for
    from understudy.repairs.selection import Causes, select_calls, select_ids

    is_restart = action == "restart"
    if is_restart and cause is not None:
        raise UsageError("--cause is about calls that have not ended: use --error")
    if ids and (filters.narrows or filters.words or cause is not None):
        raise UsageError("ids and conditions exclude each other")
    given = bool(ids) or filters.narrows or cause is not None
    # Of those that an action suits, --running alone would be all.
    given = given or (is_restart and bool(filters.words))
    require_condition(given=given, is_all=is_all, where=f"understudy calls {action}")
    ended_with = filters.error if is_restart else None
    try:
        states = states_for(action, filters.states(error=ended_with))
    except ValueError as error:
        raise UsageError(str(error)) from None
    search = filters.search(states, error=ended_with)
    if ids:
        return act(url, select_ids(action, ids), manner, data)
    causes = Causes(cause, None if is_restart else filters.error)
    return act(url, select_calls(action, search, causes), manner, data)
