"""The pages that ask before something is done, and what does it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from understudy.ui.deeds import DEEDS, IDS_MAX, Deed, FormError, cancellation, done_text, unexpected
from understudy.ui.payloads import shown
from understudy.ui.ports import RefusedError
from understudy.ui.reading import Below, read_below
from understudy.ui.ui import Ui
from understudy.ui.view import View, message
from understudy_store.commands import PromiseGet, Reply
from understudy_store.records import PromiseRecord

#: calls whose graphs are looked at before they are canceled
_LOOKED_AT_MAX = 50


class Done(NamedTuple):
    """A deed that is done, at least in part.

    Attributes
    ----------
    path
        Where the browser goes on.
    """

    path: str


async def confirmation(
    ui: Ui, name: str, query: QueryParams, *, wrong: str = "", given: str = ""
) -> View:
    """Say what a deed will do, and ask for it."""
    deed = DEEDS.get(name)
    ids = list(dict.fromkeys(query.getlist("id")))
    if deed is None or not ids or ui.is_offline:
        return message("There is nothing to be done here", back="/", status=404)
    if len(ids) > IDS_MAX:
        return message(
            f"{len(ids):,} at a time are too many", f"A page does {IDS_MAX}.", status=413
        )
    summary, question = "", ""
    if deed.of not in ("schedule", "group"):
        replies = await ui.port.ask([PromiseGet(each) for each in ids[:_LOOKED_AT_MAX]])
        records = [reply.promise for reply in replies if reply.promise is not None]
        if len(ids) == 1 and not records and replies[0].status != 404:
            raise RefusedError(replies[0])
        if len(ids) == 1 and not records:
            lines = [replies[0].error or ""]
            return message(f"There is no call {ids[0]!r}", *lines, back="/calls", status=404)
        if deed.name == "cancel":
            summary = await _cancellation(ui, records, len(ids))
        elif len(records) == 1 and records[0].settled:
            summary = "It has settled already: nothing will change"
        if deed.name in ("resolve", "reject") and len(records) == 1:
            asked = shown(records[0].param.data)
            question = asked.text or asked.brief
    context = {
        "deed": deed,
        "ids": ids,
        "summary": summary,
        "question": question,
        "action": f"/do/{deed.name}?{urlencode({'id': ids}, doseq=True)}",
        "back": _back(deed, ids),
        "wrong": wrong,
        "given": given,
        "at": str(time.time_ns() // 1_000_000),
    }
    status = 422 if wrong else 200
    return View("confirm.html", f"{deed.verb}?", context, is_live=False, status=status)


async def _cancellation(ui: Ui, records: Sequence[PromiseRecord], count: int) -> str:
    below = [await read_below(ui.port, record) for record in records]
    found = {each.id: each for one in below for each in one.promises}
    is_whole = all(one.is_whole for one in below) and count <= len(records)
    return cancellation(list(Below(list(found.values()), is_whole).promises), is_whole=is_whole)


async def perform(ui: Ui, name: str, query: QueryParams, fields: Mapping[str, str]) -> View | Done:
    """Do a deed; say what the broker refuses."""
    deed = DEEDS.get(name)
    ids = list(dict.fromkeys(query.getlist("id")))[:IDS_MAX]
    if deed is None or not ids or ui.is_offline:
        return message("There is nothing to be done here", back="/", status=404)
    try:
        commands = [deed.command(each, fields) for each in ids]
    except FormError as error:
        given = fields.get(deed.field, "")
        return await confirmation(ui, name, query, wrong=str(error), given=given)
    replies = await ui.port.ask(commands)
    refused = [(each, reply) for each, reply in zip(ids, replies, strict=True) if not reply.ok]
    others = [text for reply in replies if (text := unexpected(deed, reply.promise))]
    if not refused and not others:
        return Done(f"{_back(deed, ids)}{'&' if '?' in _back(deed, ids) else '?'}done={deed.name}")
    done = len(ids) - len(refused) - len(others)
    lines = [*(f"{each}: {_refusal(reply)}" for each, reply in refused[:20]), *others[:20]]
    headline = "The broker refuses it" if not done else done_text(deed, done)
    if len(refused) + len(others) > 20:
        lines.append(f"and {len(refused) + len(others) - 20:,} more")
    status = refused[0][1].status if refused else 409
    return message(headline, *lines, back=_back(deed, ids), status=status, level="bad")


def _refusal(reply: Reply) -> str:
    return reply.error or f"status {reply.status}"


def _back(deed: Deed, ids: Sequence[str]) -> str:
    if deed.of == "schedule":
        return "/schedules"
    if deed.of == "group":
        return f"/group?{urlencode({'name': ids[0].partition('/')[0]})}"
    if len(ids) > 1:
        return "/calls"
    return f"/call?{urlencode({'id': ids[0]})}"
