"""Deeds that can be asked for on a page: their commands, and what is said before. Pure.

A deed is asked for in two steps. The first shows what will happen, with numbers; the second does
it. Brokers check the rights of whoever asks, write it into their audit trail, and refuse in words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from understudy.ui.badges import settled_badge
from understudy.values import Codec
from understudy.views.call_graph import Node
from understudy_broker.protocol.messages import GroupPause, OwnCommand
from understudy_store.commands import (
    PromiseCancel,
    PromiseSettle,
    ScheduleDelete,
    SchedulePause,
    ScheduleResume,
    ScheduleTrigger,
    TaskContinue,
    TaskHalt,
    TaskRetry,
)
from understudy_store.records import REJECTED, RESOLVED, PromiseRecord, Value

#: calls that one deed may be for
IDS_MAX: Final = 500
#: characters of a text in a form
TEXT_CHARS_MAX: Final = 1024 * 1024
#: characters of the reason for the pause of a group
REASON_CHARS_MAX: Final = 200

_CODEC: Final = Codec()


class FormError(Exception):
    """A form says something that cannot be done; the message is for whoever filled it in."""


class Deed(NamedTuple):
    """A kind of thing that can be done.

    Attributes
    ----------
    name
        Its name in paths.
    verb
        As on the button.
    commands
        Given an id, and the fields of the form, returns the command.
    effect
        What it does, as a sentence about one thing.
    is_harmful
        It cannot be undone.
    field
        The name of the field that its form has: "value", "error", "reason"; empty: none.
    of
        What it is done to.
    """

    name: str
    verb: str
    command: Callable[[str, Mapping[str, str]], OwnCommand]
    effect: str
    is_harmful: bool = False
    field: str = ""
    of: str = "call"


def _resolve(id_: str, fields: Mapping[str, str]) -> OwnCommand:
    text = fields.get("value", "").strip()
    if len(text) > TEXT_CHARS_MAX:
        raise FormError(f"the value has {len(text):,} characters; a page takes {TEXT_CHARS_MAX:,}")
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        raise FormError(
            f'this is no JSON: {error}. A text is written in quotes: "approved"'
        ) from None
    return PromiseSettle(id_, RESOLVED, Value({}, _CODEC.encode_value(value)))


def _reject(id_: str, fields: Mapping[str, str]) -> OwnCommand:
    text = fields.get("error", "").strip() or "rejected"
    if len(text) > TEXT_CHARS_MAX:
        raise FormError(f"the text has {len(text):,} characters; a page takes {TEXT_CHARS_MAX:,}")
    return PromiseSettle(id_, REJECTED, Value({}, _CODEC.encode_error(RuntimeError(text))))


def _group_pause(id_: str, fields: Mapping[str, str], *, paused: bool) -> OwnCommand:
    # A function is named after a slash, which no group has in its name.
    group, _, function = id_.partition("/")
    return GroupPause(group, function, paused, fields.get("reason", "").strip()[:REASON_CHARS_MAX])


def _trigger(id_: str, fields: Mapping[str, str]) -> OwnCommand:
    # The date of the page: a form that is sent twice makes one call. Never a whole second, because
    # occurrences have those.
    at = fields.get("at", "")
    if not (at.isascii() and at.isdecimal() and len(at) < 15):
        raise FormError("the form is not whole: load the page again")
    date = int(at)
    return ScheduleTrigger(id_, date if date % 1000 else date + 1)


DEEDS: Final[Mapping[str, Deed]] = {
    deed.name: deed
    for deed in (
        Deed(
            "cancel",
            "Cancel",
            lambda id_, _: PromiseCancel(id_),
            "Everything that is pending in its call graph is canceled. What has ended stays, and "
            "what functions have done to the outside is not undone.",
            is_harmful=True,
        ),
        Deed(
            "halt",
            "Halt",
            lambda id_, fields: TaskHalt(id_, fields.get("reason", "").strip()[:1000]),
            "No node gets it until it is continued. A node that runs it now loses it. The promise "
            "stays pending, and its deadline still counts.",
            field="reason",
        ),
        Deed(
            "continue",
            "Continue",
            lambda id_, _: TaskContinue(id_),
            "It goes on where it was, on any node of its group that has room.",
        ),
        Deed(
            "retry",
            "Retry now",
            lambda id_, _: TaskRetry(id_),
            "Its next attempt begins at once, instead of when it is due. The number of attempts "
            "that it has left stays the same.",
        ),
        Deed(
            "resolve",
            "Resolve",
            _resolve,
            "Whoever waits for this promise gets the value. A settled promise never changes.",
            is_harmful=True,
            field="value",
            of="promise",
        ),
        Deed(
            "reject",
            "Reject",
            _reject,
            "Whoever waits for this promise gets a RuntimeError with this text. A settled promise "
            "never changes.",
            is_harmful=True,
            field="error",
            of="promise",
        ),
        Deed(
            "trigger",
            "Run now",
            _trigger,
            "One call is made now, also while the schedule is paused, under its rule about calls "
            "that overlap.",
            of="schedule",
        ),
        Deed(
            "pause",
            "Pause",
            lambda id_, fields: SchedulePause(id_, fields.get("reason", "").strip()[:1000]),
            "It makes no more calls until it is resumed. Calls that it has made go on.",
            field="reason",
            of="schedule",
        ),
        Deed(
            "resume",
            "Resume",
            lambda id_, _: ScheduleResume(id_),
            "It goes on with its next occurrence. Those during the pause are left out.",
            of="schedule",
        ),
        Deed(
            "pause-group",
            "Pause",
            lambda id_, fields: _group_pause(id_, fields, paused=True),
            "Its calls are taken and wait: no node gets them until it is resumed. What runs goes "
            "on until it ends or waits. Deadlines still count.",
            field="reason",
            of="group",
        ),
        Deed(
            "resume-group",
            "Resume",
            lambda id_, fields: _group_pause(id_, fields, paused=False),
            "Nodes get its calls again.",
            of="group",
        ),
        Deed(
            "delete",
            "Delete",
            lambda id_, _: ScheduleDelete(id_),
            "It makes no more calls, and is gone. Calls that it has made go on.",
            is_harmful=True,
            of="schedule",
        ),
    )
}


def cancellation(promises: Sequence[PromiseRecord], *, is_whole: bool = True) -> str:
    """Say what a cancellation cancels.

    Parameters
    ----------
    promises
        What is pending in the call graphs.
    is_whole
        False if there is more.

    Examples
    --------
    >>> cancellation([])
    'Nothing is pending: it cancels nothing'
    """
    if not promises:
        return "Nothing is pending: it cancels nothing"
    nodes = [Node(each) for each in promises]
    calls = [node for node in nodes if node.group is not None]
    groups = {node.group for node in calls}
    others = len(nodes) - len(calls)
    parts = []
    more = "" if is_whole else "more than "
    if calls:
        text = "1 call" if len(calls) == 1 else f"{more}{len(calls):,} calls"
        where = f"group {next(iter(groups))}" if len(groups) == 1 else f"{len(groups)} groups"
        parts.append(f"{text} in {where}")
    if others:
        parts.append(
            "1 step, sleep or promise" if others == 1 else f"{others:,} steps, sleeps and promises"
        )
    return f"Cancels {' and '.join(parts)}"


def deeds_for(record: PromiseRecord, task_state: str | None, failures: int) -> list[Deed]:
    """Return what can be done to a promise now.

    Parameters
    ----------
    task_state
        The state of its task; None if it has none, or if that is not known.
    """
    if record.settled:
        return []
    if task_state is None:
        names = ["resolve", "reject"] if Node(record).role == "promise" else []
        return [DEEDS[name] for name in [*names, "cancel"]]
    names = ["cancel"]
    if task_state == "halted":
        names.insert(0, "continue")
    elif task_state != "fulfilled":
        names.insert(0, "halt")
    if task_state == "pending" and failures:
        names.insert(0, "retry")
    return [DEEDS[name] for name in names]


def done_text(deed: Deed, count: int) -> str:
    """Say that a deed is done.

    Examples
    --------
    >>> done_text(DEEDS["cancel"], 3)
    'Done: Cancel, 3 calls'
    """
    things = deed.of if count == 1 else f"{deed.of}s"
    return f"Done: {deed.verb}, {count:,} {things}"


def unexpected(deed: Deed, record: PromiseRecord | None) -> str:
    """Say that a promise was settled in another way than was asked for; empty if it was not."""
    if record is None or deed.name not in ("cancel", "resolve", "reject"):
        return ""
    wanted = {"cancel": "canceled", "resolve": "resolved", "reject": "rejected"}[deed.name]
    found = settled_badge(record.state).text
    return "" if found == wanted else f"{record.id} was {found} before, and stays so"
