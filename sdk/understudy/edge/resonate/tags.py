"""Tags: those of the protocol, and ours that say the same to the machine. Pure.

A promise that comes through an edge keeps its tags as they came, because clients search and compare
them, and has ours beside them. What it is shown with are its own: ours are left out. The promise of
one of our own functions is shown with the tags that a client of the protocol would have given it,
so that it reads the place in the call graph from where it looks for it.
"""

from __future__ import annotations

from typing import Final

from understudy.edge.resonate.addresses import stored_address
from understudy.edge.resonate.envelope import Refusal
from understudy_store.records import (
    LOCAL,
    TAG_BRANCH,
    TAG_DELAY,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_PRIORITY,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    TRUE,
)

TARGET: Final = "resonate:target"
TIMER: Final = "resonate:timer"
EXTERNAL: Final = "resonate:external"
SCOPE: Final = "resonate:scope"
ORIGIN: Final = "resonate:origin"
BRANCH: Final = "resonate:branch"
PARENT: Final = "resonate:parent"
PREFIX: Final = "resonate:prefix"
DELAY: Final = "resonate:delay"
SCHEDULE: Final = "resonate:schedule"
#: of the older REST: target, timer and origin
INVOKE: Final = "resonate:invoke"
TIMEOUT: Final = "resonate:timeout"
ROOT: Final = "resonate:root"
_OLDER: Final = {INVOKE: TARGET, TIMEOUT: TIMER, ROOT: ORIGIN}

_THEIRS: Final = "resonate:"
_OURS: Final = "understudy:"
#: on promises that came through an edge, and whose tags do not show it
_MARK: Final = "understudy:protocol"
_RESONATE: Final = "resonate"


def stored_tags(
    id_: str,
    given: dict[str, str],
    *,
    strict: bool = False,
    timeout_at: int | None = None,
    task_id: str | None = None,
) -> dict[str, str]:
    """Return the tags under which a promise is stored.

    Parameters
    ----------
    id_
        The id of the promise.
    strict
        Refuse what the newest of their servers refuses.
    timeout_at
        The deadline; None: there is none yet, because it is a schedule.
    task_id
        The task under whose fence the promise is made.

    Raises
    ------
    Refusal
    """
    for tag in given:
        if tag.startswith(_OURS) and tag != TAG_PRIORITY:
            raise Refusal(400, f"Tags that begin with {_OURS} are this server's own: {tag}")
    if strict:
        _check_lineage(id_, given, timeout_at)
    ours = _role(given, strict)
    branch, parent = given.get(BRANCH), given.get(PARENT)
    if task_id is not None:
        ours[TAG_BRANCH] = task_id
    elif branch and branch != id_:
        ours[TAG_BRANCH] = branch
    elif parent and parent != id_:
        ours[TAG_BRANCH] = parent
    if parent and parent not in (id_, ours.get(TAG_BRANCH)):
        ours[TAG_PARENT] = parent
    origin = given.get(ORIGIN)
    if origin and origin != id_:
        ours[TAG_ORIGIN] = origin
    # One that has nothing but our mark for external ones is shown alike, wherever it is from.
    if (given or task_id is not None) and not any(tag.startswith(_THEIRS) for tag in given):
        ours[_MARK] = _RESONATE
    return {**given, **ours}


def _role(given: dict[str, str], strict: bool) -> dict[str, str]:
    """Return our tags that say how the promise is settled, and who may wait for it."""
    target = given.get(TARGET)
    address = None
    if target is not None:
        address = stored_address(target, strict)
        if address is None:
            raise Refusal(400, f"Invalid resonate:target address: {target}")
    if given.get(TIMER) == TRUE:
        # Their SDKs give a sleep a target, so that a server looks after its deadline. We do so
        # for all, and a timer has no task here.
        return {TAG_TIMER: TRUE}
    if address is not None:
        delay = given.get(DELAY, "")
        if delay.isascii() and delay.isdecimal() and len(delay) <= 18:
            return {TAG_TARGET: address, TAG_DELAY: delay}
        return {TAG_TARGET: address}
    if not strict:
        return {TAG_EXTERNAL: TRUE}
    if given.get(SCOPE) == LOCAL:
        return {TAG_SCOPE: LOCAL}
    return {TAG_EXTERNAL: TRUE} if given.get(EXTERNAL) == TRUE else {}


def _check_lineage(id_: str, given: dict[str, str], timeout_at: int | None) -> None:
    """Refuse tags that contradict the id, or each other."""
    origin = given.get(ORIGIN)
    if origin is not None and not _is_below(id_, origin):
        raise Refusal(400, "Promise ID must be prefixed by resonate:origin")
    for tag in (BRANCH, PARENT):
        above = given.get(tag)
        if above is not None and origin is not None and not _is_below(above, origin):
            raise Refusal(400, f"{tag} must be prefixed by resonate:origin")
    delay = given.get(DELAY)
    if delay is not None:
        if TARGET not in given:
            raise Refusal(400, "resonate:delay requires resonate:target")
        if not (delay.isascii() and delay.isdecimal() and len(delay) <= 18):
            raise Refusal(400, "resonate:delay must be a time in epoch milliseconds")
        if timeout_at is not None and int(delay) >= timeout_at:
            raise Refusal(400, "resonate:delay must be before timeoutAt")


def _is_below(id_: str, origin: str) -> bool:
    """Return whether an id is an origin or begins with it, in either of the two dialects."""
    return id_ == origin or id_.startswith((f"{origin}:", f"{origin}."))


def share_origin(one: str, other: str) -> bool:
    """Return whether two ids have one origin, in either of the two dialects."""
    return any(one.split(sep, 1)[0] == other.split(sep, 1)[0] for sep in ":.")


def shown_tags(id_: str, stored: dict[str, str]) -> dict[str, str]:
    """Return the tags with which a promise is shown."""
    shown: dict[str, str] = {}
    is_theirs = has_ours = False
    for tag, text in stored.items():
        if not tag.startswith(_OURS):
            shown[tag] = text
            is_theirs = is_theirs or tag.startswith(_THEIRS)
        elif tag == TAG_PRIORITY:
            shown[tag] = text
        elif tag == _MARK:
            is_theirs = True
        else:
            has_ours = True
    if SCHEDULE in shown:
        for tag in (ORIGIN, BRANCH, PARENT, PREFIX):
            shown.setdefault(tag, id_)
    elif has_ours and not is_theirs:
        _add_lineage(id_, stored, shown)
    elif shown.keys() & _OLDER:
        # Where one SDK has called, another one may serve.
        for older, tag in _OLDER.items():
            if older in shown and tag not in shown:
                shown[tag] = shown[older]
        shown.setdefault(BRANCH, id_ if TAG_TARGET in stored else stored.get(TAG_BRANCH, id_))
    return shown


def _add_lineage(id_: str, stored: dict[str, str], shown: dict[str, str]) -> None:
    """Add the tags that a client of the protocol would have given to a promise of ours."""
    if stored.keys() == {TAG_EXTERNAL}:
        return  # as is one of theirs that came without tags
    target = stored.get(TAG_TARGET)
    if target is not None:
        shown[TARGET] = target
    if stored.get(TAG_TIMER) == TRUE:
        shown[TIMER] = TRUE
    if stored.get(TAG_EXTERNAL) == TRUE:
        shown[EXTERNAL] = TRUE
    if TAG_DELAY in stored:
        shown[DELAY] = stored[TAG_DELAY]
    shown[SCOPE] = LOCAL if stored.get(TAG_SCOPE) == LOCAL else "global"
    shown[ORIGIN] = stored.get(TAG_ORIGIN, id_)
    branch = stored.get(TAG_BRANCH, id_)
    shown[BRANCH] = id_ if target is not None else branch
    shown[PARENT] = stored.get(TAG_PARENT, branch)


def stored_legacy_tags(id_: str, given: dict[str, str]) -> dict[str, str]:
    """Return the tags under which a promise is stored that came by the older REST; see `legacy`.

    Raises
    ------
    Refusal
    """
    said = {
        TARGET: given.get(INVOKE),
        TIMER: given.get(TIMEOUT),
        ORIGIN: given.get(ROOT),
        PARENT: given.get(PARENT),
    }
    as_now = {tag: text for tag, text in said.items() if text is not None}
    stored = stored_tags(id_, as_now)
    ours = {tag: text for tag, text in stored.items() if tag.startswith(_OURS)}
    for tag in given:
        if tag.startswith(_OURS) and tag != TAG_PRIORITY:
            raise Refusal(400, f"Tags that begin with {_OURS} are this server's own: {tag}")
    if given and not any(tag.startswith(_THEIRS) for tag in given):
        ours[_MARK] = _RESONATE
    return {**given, **ours}


def shown_legacy_tags(id_: str, stored: dict[str, str]) -> dict[str, str]:
    """Return the tags with which the older REST shows a promise: with its own names, too."""
    shown = shown_tags(id_, stored) if id_ else shown_schedule_tags(stored)
    for ours, theirs in ((TARGET, INVOKE), (TIMER, TIMEOUT), (ORIGIN, ROOT)):
        if ours in shown:
            shown.setdefault(theirs, shown[ours])
    return shown


def stored_schedule_tags(
    schedule_id: str, given: dict[str, str], *, strict: bool = False
) -> dict[str, str]:
    """Return the tags under which the promises of a schedule are stored; raises as `stored_tags`.

    What depends on the id of each is added when it is shown.
    """
    stored = stored_tags("", given, strict=strict)
    stored[SCHEDULE] = schedule_id
    return stored


def shown_schedule_tags(stored: dict[str, str]) -> dict[str, str]:
    """Return the tags of a schedule's promises, as they were given."""
    shown = {
        tag: text
        for tag, text in stored.items()
        if tag != SCHEDULE and (tag == TAG_PRIORITY or not tag.startswith(_OURS))
    }
    if TAG_TARGET in stored and not shown.keys() & {TARGET, INVOKE}:
        shown[TARGET] = stored[TAG_TARGET]
    return shown
