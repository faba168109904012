"""Actions on many calls from the command line: what will happen, a question, progress, a result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from understudy.cli import EXIT_INTERRUPTED
from understudy.cli.errors import EXIT_FAILED, UsageError, explain
from understudy.cli.printing import err, out, out_painted, printable_line

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy.repairs.conversation import Answer, Conversation
    from understudy.repairs.plan import Plan, Tally, Target
    from understudy_broker.protocol.messages import AnyCommand

#: targets that --dry-run shows in a table; with --json all are shown
_SHOWN: Final = 50


class Manner(NamedTuple):
    """The ways in which a command is to act: the options that all of them share."""

    yes: bool = False
    dry_run: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Refuse to act where nobody can be asked and nobody has said yes."""
        if self.yes or self.dry_run:
            return
        if self.as_json:
            raise UsageError("--json asks nothing: add --yes, or --dry-run")
        if not has_terminal():
            raise UsageError("there is no terminal to ask at: add --yes, or --dry-run")


def has_terminal() -> bool:
    """Return whether a person can be asked, and answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def require_condition(*, given: bool, is_all: bool, where: str) -> None:
    """Refuse a command for many calls that says nothing of which.

    Parameters
    ----------
    given
        Whether any condition was given.
    is_all
        Whether ``--all`` was.
    where
        The command, for the message.
    """
    if given and is_all:
        raise UsageError("--all and conditions exclude each other")
    if not given and not is_all:
        raise UsageError(f"{where}: say which, by ids or conditions; or all of them, by --all")


def act(url: str | None, selection: Conversation[Plan], manner: Manner, data: object = None) -> int:
    """Choose what is meant, show it, ask, do it, and tell what came of it; return the exit code.

    Parameters
    ----------
    data
        The value that ``resolve`` settles with.
    """
    from understudy.cli.client import Client
    from understudy.errors import BrokerUnavailableError
    from understudy.repairs.conversation import hold
    from understudy.repairs.execution import execute
    from understudy.repairs.plan import Tally
    from understudy_store.records import Value

    manner.check()
    with Client(url) as client:
        plan = hold(selection, lambda commands: ask(client, commands))
        assert plan is not None, "the choice is not stopped"
        if manner.dry_run or not plan.targets:
            _show(plan, manner)
            return 0
        if not manner.yes and not _is_confirmed(plan):
            err("understudy: nothing was changed")
            return EXIT_FAILED
        env = client.runtime.session.env
        value = Value({}, env.values.encode_value(data, "the value"))
        tally = Tally(len(plan.targets))
        work = execute(plan, tally, env.now_ms(), value)
        with _stoppable(plan, tally) as goes_on:
            try:
                hold(work, lambda commands: ask(client, commands), goes_on)
            except BrokerUnavailableError as error:
                _report(plan, tally, manner)
                text, code = explain(error)
                err(f"understudy: {text}")
                return code
    return _report(plan, tally, manner)


def ask(client: Client, commands: Sequence[AnyCommand]) -> list[Answer]:
    """Send commands at once, and return their answers in order."""
    return list(client.commands(commands))


@contextmanager
def _stoppable(plan: Plan, tally: Tally) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether to go on, which draws how far it is on a terminal."""
    from understudy.cli.stop_requests import StopRequest

    notice = "understudy: stopping after the calls that are under way. Ctrl-C again: at once"
    with StopRequest(notice) as stop:
        if not sys.stderr.isatty():
            yield lambda: not stop.made
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (plan.action, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(plan.action, total=tally.planned)

            def goes_on() -> bool:
                bar.update(task, completed=tally.looked_at)
                return not stop.made

            yield goes_on


def _is_confirmed(plan: Plan) -> bool:
    from understudy.repairs.plan import plan_text

    err(printable_line(f"This {plan_text(plan)}. Go on? [y/N]"), flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(plan: Plan, manner: Manner) -> None:
    """Show a plan that is not carried out."""
    from understudy.cli.json_data import print_json
    from understudy.repairs.plan import plan_json, plan_text

    if manner.as_json:
        ids = [each.id for each in plan.targets]
        print_json({**plan_json(plan), "dry_run": manner.dry_run, "ids": ids})
        return
    if not plan.targets:
        out(f"Nothing to {plan.action}: no {plan.noun} matches")
        return
    out_painted(_table(plan.targets[:_SHOWN]))
    if (more := len(plan.targets) - _SHOWN) > 0:
        out(f"and {more:,} more, all of them with --json")
    out(printable_line(f"Nothing is changed. Without --dry-run, this {plan_text(plan)}"))


def _table(targets: Sequence[Target]) -> str:
    from understudy.cli.tables import table, terminal_width

    rows = [
        (each.id, each.status, each.function or None, each.group or None, each.note)
        for each in targets
    ]
    headers = ("ID", "STATUS", "FUNCTION", "GROUP", "REASON")
    return table(headers, rows, width=terminal_width(), elastic=("REASON", "FUNCTION"))


def _report(plan: Plan, tally: Tally, manner: Manner) -> int:
    """Show what came of a plan; return the exit code."""
    from understudy.cli.json_data import print_json
    from understudy.repairs.plan import plan_json, tally_json, tally_text

    if manner.as_json:
        print_json({**plan_json(plan), "dry_run": False, **tally_json(tally)})
    else:
        text = tally_text(plan, tally)
        out(f"{text[0].upper()}{text[1:]}")
        for reason, count in tally.reasons.items():
            out(printable_line(f"  {count:,}: {reason}"))
    if not tally.is_complete:
        err("understudy: to go on, give the same command again")
        return EXIT_INTERRUPTED
    if not plan.is_whole and not manner.as_json:
        err("understudy: more match than one command takes: give it again for the others")
    return EXIT_FAILED if tally.refused else 0
