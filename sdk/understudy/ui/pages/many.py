"""Actions on all calls that match the filters of the list, or on some by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from msgspec.structs import replace
from starlette.datastructures import QueryParams

from understudy.repairs.conversation import Conversation, hold_async
from understudy.repairs.plan import Action, Plan, plan_text, states_for, tally_text
from understudy.repairs.restarts import restart_id
from understudy.repairs.selection import Causes, select_calls, select_ids
from understudy.ui.deeds import DEEDS, IDS_MAX, FormError
from understudy.ui.jobs import Job, TooManyJobsError
from understudy.ui.pages.calls import FIELDS, search_of
from understudy.ui.pages.deeds import Done
from understudy.ui.ports import RefusedError
from understudy.ui.row_changes import Region
from understudy.ui.ui import Ui
from understudy.ui.view import View, message
from understudy_actors.errors import CommandError
from understudy_store.commands import PromiseGet, Reply

_RESTART: Final = (
    "Each is called again under a new id, with the same function, arguments and options. Steps "
    "that the first call had performed are performed again."
)
#: action to the word on its button, and what it does
ACTIONS: Final[Mapping[Action, tuple[str, str]]] = {
    "cancel": ("Cancel", DEEDS["cancel"].effect),
    "halt": ("Halt", DEEDS["halt"].effect),
    "continue": ("Continue", DEEDS["continue"].effect),
    "retry": ("Retry now", DEEDS["retry"].effect),
    "restart": ("Restart", _RESTART),
}
#: targets that are named
_SHOWN: Final = 100


async def choice(ui: Ui, name: str, query: QueryParams, *, wrong: str = "") -> View:
    """Say what an action will be done to, and ask for it."""
    action = next((each for each in ACTIONS if each == name), None)
    if action is None or ui.is_offline:
        return message("There is nothing to be done here", back="/", status=404)
    given = _given(query)
    back = _back(query)
    try:
        plan = await hold_async(_selection(action, query, ui.port.now_ms()), ui.port.ask)
    except CommandError as error:
        raise RefusedError(Reply(error.status, error.error)) from None
    except FormError as error:
        return message(str(error), back=back, status=422)
    assert plan is not None, "it is not stopped"
    verb, effect = ACTIONS[action]
    if not plan.targets:
        text = f"Nothing to {action}: no {plan.noun} matches"
        return message(text, back=back, status=200)
    query_text = urlencode([*given, ("plan", ui.jobs.propose(plan))])
    context = {
        "verb": verb,
        "effect": effect,
        "is_harmful": action == "cancel",
        "summary": f"This {plan_text(plan)}",
        "targets": plan.targets[:_SHOWN],
        "more": max(0, len(plan.targets) - _SHOWN),
        "count": len(plan.targets),
        "noun": plan.noun,
        "action": f"/many/{action}?{query_text}",
        "back": back,
        "wrong": wrong,
    }
    return View("many.html", f"{verb}?", context, is_live=False, status=422 if wrong else 200)


def _selection(action: Action, query: QueryParams, now_ms: int) -> Conversation[Plan]:
    """Choose what an action is about.

    Raises
    ------
    FormError
        The filters say something else than the action.
    """
    ids = list(dict.fromkeys(query.getlist("id")))
    if ids:
        if len(ids) > IDS_MAX:
            raise FormError(f"{len(ids):,} ids at a time are too many: at most {IDS_MAX}")
        return select_ids(action, ids)
    fields = {name: query.get(name, "").strip() for name in FIELDS}
    search = search_of(fields, None, now_ms)
    error = None
    if action != "restart":
        # Calls that have not ended have no error: what their last attempt said is meant.
        error = search.error
        search = search_of({**fields, "error": ""}, None, now_ms)
    try:
        states = states_for(action, search.states, search.error)
    except ValueError as wrong:
        raise FormError(str(wrong)) from None
    return select_calls(action, replace(search, states=states, counts=False), Causes(None, error))


async def begin(ui: Ui, name: str, query: QueryParams, _fields: Mapping[str, str]) -> View | Done:
    """Carry out what was shown, and nothing else."""
    try:
        job = await ui.jobs.begin(query.get("plan", ""))
    except TooManyJobsError as error:
        return message(str(error), back=_back(query), status=429)
    if job is None:
        return await choice(ui, name, query, wrong="This may have changed meanwhile: look again")
    return Done(f"/job?{urlencode({'key': job.key})}")


async def job(ui: Ui, query: QueryParams) -> View:
    """Show how far a job is, and what came of it."""
    found = ui.jobs.get(query.get("key", ""))
    if found is None:
        line = "The dashboard remembers the latest ones, and none from before it was started."
        return message("There is no such job", line, back="/calls", status=404)
    rows = ui.rows("job_rows.html")
    shown = _shown(found, await _made(ui, found))
    regions = [Region("job", {"job-row": str(rows.progress(shown))}, "div")]
    context = {"verb": ACTIONS[found.plan.action][0], "key": found.key}
    return View("job.html", context["verb"], context, regions, "/calls")


async def _made(ui: Ui, found: Job) -> str:
    """Return the id of the call that the restart of a single one has made."""
    targets = found.plan.targets
    if found.plan.action != "restart" or found.tally.planned != 1 or found.tally.refused:
        return ""
    (reply,) = await ui.port.ask([PromiseGet(targets[0].id)])
    return "" if reply.promise is None else restart_id(reply.promise)


def _shown(found: Job, made: str) -> dict[str, object]:
    tally, plan = found.tally, found.plan
    text = tally_text(plan, tally)
    return {
        "text": f"{text[0].upper()}{text[1:]}",
        "part": tally.looked_at / tally.planned if tally.planned else 1.0,
        "is_over": found.ended.is_set(),
        "is_stopping": found.is_stopping,
        "level": "bad" if found.trouble or tally.refused else "calm",
        "trouble": found.trouble,
        "reasons": list(tally.reasons.items()),
        "made": made,
    }


async def stop(ui: Ui, _name: str, query: QueryParams, _fields: Mapping[str, str]) -> View | Done:
    """Stop a job after what is under way."""
    found = ui.jobs.get(query.get("key", ""))
    if found is None:
        return await job(ui, query)
    found.is_stopping = True
    return Done(f"/job?{urlencode({'key': found.key})}")


async def no_question(ui: Ui, _name: str, query: QueryParams) -> View:
    """Show the job itself, where somebody opens the address of its button."""
    return await job(ui, query)


def _given(query: QueryParams) -> list[tuple[str, str]]:
    return [(name, text) for name, text in query.multi_items() if name in {*FIELDS, "id"} and text]


def _back(query: QueryParams) -> str:
    ids = query.getlist("id")
    if len(ids) == 1:
        return f"/call?{urlencode({'id': ids[0]})}"
    given = [(name, text) for name, text in _given(query) if name != "id"]
    return f"/calls?{urlencode(given)}" if given else "/calls"
