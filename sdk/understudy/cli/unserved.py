"""Functions that no node of a group has, although calls wait for them, in words."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from understudy_store.records import HEADER_FUNCTION, HEADER_VERSION, TAG_TARGET

if TYPE_CHECKING:
    from understudy_broker.protocol.messages import GroupInfo, GroupsReport
    from understudy_store.records import PromiseRecord


def function_text(name: str, version: str | None) -> str:
    """Name a function: ``total (version 2)``."""
    return name if version is None else f"{name} (version {version})"


def lacks_text(group: GroupInfo, name: str, version: str | None) -> str:
    """Say that no node of the group has a function, and what may have been meant."""
    known = sorted({each for node in group.nodes for each in node.functions})
    text = f"no node of group {group.name} has the function {function_text(name, version)}"
    if name in known:
        return f"{text}, only other versions of it"
    similar = difflib.get_close_matches(name, known, n=3)
    return f"{text}; similar: {', '.join(similar)}" if similar else text


def why_unserved(record: PromiseRecord, report: GroupsReport) -> str | None:
    """Return why nobody performs a call, if no node of its group has its function; else None."""
    from understudy_store.addresses import InvalidAddressError, parse_target

    try:
        name = parse_target(record.tags.get(TAG_TARGET, "")).group
    except InvalidAddressError:
        return None
    headers = record.param.headers
    function, version = headers.get(HEADER_FUNCTION, ""), headers.get(HEADER_VERSION)
    for group in report.groups:
        lacks = any(each[:2] == (function, version) for each in group.unserved)
        if group.name == name and group.nodes and lacks:
            return lacks_text(group, function, version)
    return None
