"""Obstacles in words: why a call does not go on, and what to do about it."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from understudy_store.addresses import InvalidAddressError, Target, parse_target
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_VERSION,
    PENDING,
    TAG_TARGET,
    PromiseRecord,
    TaskRecord,
)

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupInfo, GroupsReport, PauseInfo

#: names that a message lists
NAMES_MAX: Final = 8


def task_trouble(task: TaskRecord | None) -> str:
    """Return why the task does not go on and what to do about it; empty if all is well."""
    if task is None or not task.cause or task.state == "fulfilled":
        return ""
    if task.state == "halted":
        return f"{task.cause}; {_advice(task)}"
    if not task.deaths:
        return task.cause
    times = "once" if task.deaths == 1 else f"{task.deaths} times in a row"
    return f"its holder vanished {times}; the last: {task.cause}"


def halt_text(task: TaskRecord) -> str:
    """Say that a task is parked and why, or that a person has halted it, and what to do."""
    return f"is parked: {task_trouble(task)}" if task.cause else f"is halted; {_advice(task)}"


def _advice(task: TaskRecord) -> str:
    return f"to let it run again: understudy tasks continue {shlex.quote(task.id)}"


def retry_text(task: TaskRecord) -> str:
    """Say which attempt has failed, why, and when the next one comes (in local time)."""
    attempt = task.failures + 1
    if task.state == PENDING and task.retry_at is not None:
        moment = datetime.fromtimestamp(task.retry_at / 1000).astimezone()
        return f"{task.cause}; attempt {attempt} comes at {moment:%H:%M:%S}"
    return f"{task.cause}; attempt {attempt} is under way"


def lacks_text(group: GroupInfo, name: str, version: str | None) -> str:
    """Say that no node of the group has a function, and what may have been meant."""
    known = sorted({each for node in group.nodes for each in node.functions})
    function = name if version is None else f"{name} (version {version})"
    text = f"no node of group {group.name} has the function {function}"
    if name in known:
        return f"{text}, only other versions of it"
    similar = difflib.get_close_matches(name, known, n=3)
    if similar:
        return f"{text}; similar: {', '.join(similar)}"
    return f"{text}; registered there: {_listed(known)}"


def why_unserved(record: PromiseRecord, report: GroupsReport) -> str | None:
    """Return why nobody performs a call, if no node of its group has its function; else None."""
    target = _target_of(record)
    headers = record.param.headers
    function, version = headers.get(HEADER_FUNCTION, ""), headers.get(HEADER_VERSION)
    for group in report.groups:
        lacks = any(each[:2] == (function, version) for each in group.unserved)
        if target is not None and group.name == target.group and group.nodes and lacks:
            return lacks_text(group, function, version)
    return None


def why_queued(record: PromiseRecord, report: GroupsReport) -> str | None:
    """Return why no node gets a pending call: it is paused, or no node of its group can do it."""
    target = _target_of(record)
    if target is None:
        return None
    if (paused := why_paused(target.group, record, report)) is not None:
        return paused
    served = {group.name: group for group in report.groups if group.nodes}
    if target.group not in served:
        return f"nothing serves group {target.group} yet (groups with nodes: {_listed([*served])})"
    if target.cast == "uni":
        if any(node.name == target.node for node in served[target.group].nodes):
            return None
        return f"the node {target.node} of group {target.group}, which alone may have it, is away"
    return why_unserved(record, report)


def why_paused(group: str, record: PromiseRecord, report: GroupsReport) -> str | None:
    """Return why no node gets a call, if its group or function is paused; else None."""
    function = record.param.headers.get(HEADER_FUNCTION, "")
    for each in report.groups:
        for pause in each.pauses:
            if each.name == group and pause.function in ("", function):
                return paused_text(group, pause)
    return None


def paused_text(group: str, pause: PauseInfo) -> str:
    """Say what is paused, by whom, since when (in local time), and why."""
    moment = datetime.fromtimestamp(pause.since / 1000).astimezone()
    what = f"function {pause.function} of group {group}" if pause.function else f"group {group}"
    by = f" by {pause.by}" if pause.by else ""
    reason = f" ({pause.reason})" if pause.reason else ""
    return f"{what} is paused{by} since {moment:%Y-%m-%d %H:%M:%S}{reason}"


def resume_command(group: str, pause: PauseInfo) -> str:
    """Return the command that ends a pause."""
    words = ["understudy", "groups", "resume", group]
    return shlex.join([*words, "--function", pause.function] if pause.function else words)


def _target_of(record: PromiseRecord) -> Target | None:
    try:
        return parse_target(record.tags.get(TAG_TARGET, ""))
    except InvalidAddressError:
        return None


def _listed(names: Sequence[str]) -> str:
    """List names, not too many of them."""
    shown = ", ".join(names[:NAMES_MAX]) or "none"
    return shown if len(names) <= NAMES_MAX else f"{shown} and {len(names) - NAMES_MAX} more"
