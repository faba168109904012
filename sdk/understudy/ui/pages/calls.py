"""The page that lists calls, by filters that are in its address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from understudy.repairs.plan import Action
from understudy.states import CALL_STATES, call_states
from understudy.ui.badges import Badge, Kind, settled_badge
from understudy.ui.deeds import FormError
from understudy.ui.ports import RefusedError
from understudy.ui.reading import check
from understudy.ui.row_changes import Region, row_key
from understudy.ui.ui import Ui
from understudy.ui.view import View
from understudy.views.calls import call_reason, call_status, counts_json
from understudy.views.times import duration, given_moment, given_seconds, moment
from understudy_store.calls import took_ms
from understudy_store.commands import COUNTED_MAX, CallSearch, Reply
from understudy_store.records import PENDING, CallRecord

#: calls of a page
PAGE: Final = 100
FIELDS: Final = (
    *("state", "group", "function", "error", "prefix"),
    *("since", "until", "slow", "tag"),
)
_SLOW_TO_COUNT: Final = ("error", "prefix", "slow", "tag")
_QUICK: Final[Mapping[str, Mapping[str, str]]] = {
    "All": {},
    "Under way": {"state": "pending"},
    "Failed": {"state": "failed"},
    "Failed in the last hour": {"state": "failed", "since": "1h"},
    "Slow": {"state": "pending", "slow": "10m"},
}
#: actions on all calls that match
_ACTIONS: Final[Mapping[Action, str]] = {
    "cancel": "Cancel",
    "halt": "Halt",
    "continue": "Continue",
    "retry": "Retry",
    "restart": "Restart",
}
_KINDS: Final[Mapping[str, Kind]] = {
    "queued": "queued",
    "running": "running",
    "waiting": "waiting",
    "halted": "parked",
    "parked": "parked",
}


async def calls(ui: Ui, query: QueryParams) -> View:
    """Show a page of calls, the newest first."""
    fields = {name: query.get(name, "").strip() for name in FIELDS}
    given = {name: text for name, text in fields.items() if text}
    wrong, reply = "", Reply(200)
    try:
        search = search_of(fields, query.get("cursor"), ui.port.now_ms())
        (reply,) = check(await ui.port.ask([search]))
    except FormError as error:
        wrong = str(error)
    except RefusedError as error:
        if error.status != 400:
            raise
        wrong = str(error)
    now_ms = ui.port.now_ms()
    rows = ui.rows("list_rows.html")
    found = {}
    for call in reply.calls or ():
        key = row_key("call", call.id)
        found[key] = str(rows.call(_row(key, call, now_ms)))
    counts = {"counts-row": str(ui.rows("counters.html").line(_counts(reply)))}
    more = f"/calls?{urlencode({**given, 'cursor': reply.cursor})}" if reply.cursor else ""
    newest = f"/calls?{urlencode(given)}" if query.get("cursor") else ""
    context = {
        "f": fields,
        "wrong": wrong,
        "newest": newest,
        "is_filtered": bool(given),
        "more": more,
        "states": CALL_STATES,
        "quick": [
            (label, f"/calls?{urlencode(params)}" if params else "/calls", dict(params) == given)
            for label, params in _QUICK.items()
        ],
        "all_of": [
            (f"/many/{action}?{urlencode(given)}", f"{verb} all")
            for action, verb in _ACTIONS.items()
            if (action == "restart") == (given.get("state") not in (None, PENDING))
        ],
        "known_groups": await _known_groups(ui),
    }
    regions = [Region("counts", counts, "span"), Region("calls", found)]
    return View("calls.html", "Calls", context, regions, "/calls", is_live=not wrong)


def search_of(fields: Mapping[str, str], cursor: str | None, now_ms: int) -> CallSearch:
    """Return the search that the fields of the form ask for.

    Raises
    ------
    FormError
        One of them cannot be read.
    """
    given = {name: fields.get(name) or None for name in FIELDS}
    words = [given["state"]] if given["state"] else []
    states = call_states(words, error=given["error"])
    if states is None:
        raise FormError(f"{given['state']!r} is no state: use one of {', '.join(CALL_STATES)}")
    name, equals, text = (given["tag"] or "=").partition("=")
    if not equals:
        raise FormError(f"the tag {given['tag']!r} is not of the form name=text")
    return CallSearch(
        states,
        given["function"],
        given["group"],
        given["error"],
        {name: text} if name else {},
        given["prefix"] or "",
        _moment(given["since"], now_ms),
        _moment(given["until"], now_ms),
        round(_seconds(given["slow"]) * 1000),
        PAGE,
        cursor,
        # With other conditions each call has to be looked at, which takes too long for a page.
        cursor is None and not any(given[name] for name in _SLOW_TO_COUNT),
    )


def _moment(text: str | None, now_ms: int) -> int | None:
    found = None if text is None else given_moment(text, now_ms)
    if text is not None and found is None:
        raise FormError(
            f"{text!r} is neither a moment (2026-01-31T12:00) nor so long ago (90, 10m, 2h, 7d)"
        )
    return found


def _seconds(text: str | None) -> float:
    found = 0.0 if text is None else given_seconds(text)
    if found is None:
        raise FormError(f"{text!r} is no time: write seconds (90), or with a unit (500ms, 10m, 2h)")
    return found


async def _known_groups(ui: Ui) -> list[str]:
    try:
        report = await ui.port.groups()
    except RefusedError:
        return []
    return [] if report is None else [group.name for group in report.groups[:200]]


def _row(key: str, call: CallRecord, now_ms: int) -> dict[str, Any]:
    return {
        "key": key,
        "id": call.id,
        "badge": badge_of_call(call),
        "reason": call_reason(call) or "",
        "function": call.function or "–",
        "group": call.group,
        "created": moment(call.created_at),
        "took": duration(max(0, took_ms(call, now_ms))),
        "attempts": call.failures + 1,
        "node": call.node or "–",
    }


def badge_of_call(call: CallRecord) -> Badge:
    """Return the badge of a call of a list."""
    if call.state != PENDING:
        return settled_badge(call.state)
    word = call_status(call)
    if word == "queued" and call.failures:
        return Badge("retrying", "tried again")
    return Badge(_KINDS.get(word, "waiting"), word)


def _counts(reply: Reply) -> str:
    """Return a line such as ``1,204 calls: 3 pending, 1,190 resolved, 11 rejected``."""
    counts = counts_json(reply.counts or {})
    total = sum(counts.values())
    if not total:
        return ""
    parts = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    if total >= COUNTED_MAX:
        return f"Of the newest {total:,}: {parts}"
    return f"{total:,} {'call' if total == 1 else 'calls'}: {parts}"
