"""``understudy why``: what keeps a call or a group, and which command helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli import completion
from understudy.cli.options import AsJson, Url
from understudy.cli.printing import err, out

if TYPE_CHECKING:
    from understudy.cli.client import Client
    from understudy.cli.part_client import PartClient
    from understudy.views.why import Explanation, Facts
    from understudy_store.records import PromiseRecord

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def why(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID|GROUP",
            help="The id of a call or promise, or the name of a group.",
            autocompletion=completion.promise_ids,
        ),
    ],
    is_group: Annotated[
        bool, typer.Option("--group", help="It is a group, also if a call has this id.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> int:
    """Say why a call does not go on, or what keeps the calls of a group.

    From a call it goes down to what the call waits for, and says of that: which group has no node,
    which node runs it and whether that node still says anything, when the next attempt comes and
    why the last one failed, why it is parked, which promise waits for somebody outside. After the
    arrow stands the command that helps.

    Of a group it says whether nodes serve it, how busy they are, what they lack, why tasks of the
    group or their steps are parked or tried again, which function most of the tasks in hand are,
    and which call has waited longest for others.

    --json prints one object: "summary", and "reasons" with "text", "advice" and "ids".

    \b
    Examples:
      understudy why order-7
      understudy why bank
      understudy why order-7 --json | jq -r '.reasons[].advice'

    \b
    Exit codes:
      1  there is neither such a call nor such a group
      4  no broker answers, or one of several does not
    """
    from understudy.cli.client import Client
    from understudy.cli.errors import EXIT_NO_BROKER
    from understudy.cli.json_data import print_json
    from understudy.cli.part_client import PartClient
    from understudy.errors import BrokerUnavailableError

    with Client(url) as client:
        away: list[str] = []
        try:
            found = _explain(client, name, url, is_group=is_group)
        except BrokerUnavailableError as error:
            if not error.others_answer:
                raise
            part = PartClient(url)
            away = [f"{status.name} at {status.address}" for status in part.away]
            found = _explain(part, name, url, is_group=is_group)
    if as_json:
        print_json(
            {
                "summary": found.summary,
                "reasons": [
                    {"text": each.text, "advice": each.advice or None, "ids": list(each.ids)}
                    for each in found.reasons
                ],
            }
        )
    else:
        out(explanation_text(found, name))
    for broker in away:
        err(f"understudy: the broker {broker} does not answer: what it has is not known")
    return EXIT_NO_BROKER if away else 0


def explanation_text(found: Explanation, name: str) -> str:
    """Return an explanation as a paragraph: the summary, then a line or two for each reason."""
    from understudy.cli.printing import printable_line
    from understudy.views.why import NAMED

    if not found.reasons:
        return printable_line(f"{found.summary}.")
    lines = [f"{found.summary}."]
    for each in found.reasons:
        who = ", ".join(each.ids[:NAMED])
        if len(each.ids) > NAMED:
            who = f"{who} and {len(each.ids) - NAMED:,} more"
        is_itself = not each.ids or each.ids == (name,)
        lines.append(
            (f"  It {each.text}" if each.ids else f"  {each.text[0].upper()}{each.text[1:]}")
            if is_itself
            else f"  {who}: {each.text}"
        )
        if each.advice:
            lines.append(f"    → {each.advice}")
    return "\n".join(map(printable_line, lines))


def _explain(
    client: Client | PartClient, name: str, url: str | None, *, is_group: bool
) -> Explanation:
    from understudy.cli.errors import CliError
    from understudy.views.why import explain_call, explain_group

    record = None if is_group else client.find_promise(name)
    if record is not None:
        return explain_call(name, _facts_of_call(client, record, url))
    facts = _facts_of_group(client, name)
    if not facts.tasks and all(group.name != name for group in facts.report.groups):
        known = ", ".join(group.name for group in facts.report.groups) or "none"
        raise CliError(
            f"there is neither a call nor a group {name!r} (groups: {known}). To list calls: "
            "understudy calls"
        )
    return explain_group(name, facts)


def _facts_of_call(client: Client | PartClient, record: PromiseRecord, url: str | None) -> Facts:
    """Read a call, what is pending below it, and the tasks of that."""
    from understudy.cli.times import now_ms
    from understudy.views.progress import progress_of_promises
    from understudy.views.why import CALLS_MAX, Facts
    from understudy_store.records import PENDING, TAG_TARGET, origin_of

    records = {record.id: record}
    is_whole = True
    if not record.settled:
        origin = origin_of(record)
        prefix = "" if origin == record.id else f"{record.id}."
        found = client.promises(state=PENDING, origin=origin, prefix=prefix)
        for each in found:
            if len(records) > CALLS_MAX:
                is_whole = False
                break
            records.setdefault(each.id, each)
    calls = [each.id for each in records.values() if TAG_TARGET in each.tags]
    replies = client.tasks_of(calls)
    # What is awaited in other graphs is looked at, too: the promises themselves.
    awaited = {each for reply in replies if reply.task for each in reply.task.awaits}
    for id_ in awaited - records.keys():
        if (other := client.find_promise(id_)) is not None:
            records[id_] = other
            replies += client.tasks_of([id_])
    return Facts(
        now_ms(),
        client.groups(),
        records,
        {reply.task.id: reply.task for reply in replies if reply.task},
        _owners(records, url),
        progress_of_promises(records, replies),
        is_whole,
    )


def _owners(records: dict[str, PromiseRecord], url: str | None) -> dict[str, str | None]:
    """Return who owns the slots of promises; nothing if there is one broker."""
    from understudy.cli.deployment import read_placement
    from understudy_store.slots import slot_of

    placement = read_placement(url)
    if placement.version is None:
        return {}
    return {id_: placement.owners[slot_of(id_)] for id_ in records}


def _facts_of_group(client: Client | PartClient, name: str) -> Facts:
    from itertools import chain

    from understudy.cli.times import now_ms
    from understudy.views.progress import progress_of_task
    from understudy.views.why import BUSY_MAX, CALLS_MAX, Facts

    found = chain(
        client.tasks(state="halted", group=name, limit=CALLS_MAX),
        client.tasks(state="pending", group=name, limit=CALLS_MAX),
    )
    tasks = {task.id: task for task in found}
    busy = list(client.tasks(state="acquired", group=name, limit=BUSY_MAX))
    waiting = list(client.tasks(state="suspended", group=name, limit=BUSY_MAX))
    replies = client.tasks_of(task.id for task in busy)
    told = {each.task.id: progress_of_task(each) for each in replies if each.task}
    records = client.promises_of(task.id for task in busy)
    tasks |= {task.id: task for task in (*busy, *waiting)}
    return Facts(
        now_ms(),
        client.groups(),
        {record.id: record for record in records},
        tasks,
        progress={id_: progress for id_, progress in told.items() if progress is not None},
        is_whole=len(waiting) < BUSY_MAX,
    )
