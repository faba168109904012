"""Lists of calls from the newest on: their parameters, and the command that reads one."""

from __future__ import annotations

from typing import Final

from understudy.edge.native.parameters import Parameters
from understudy.edge.native.problems import Problem
from understudy.states import CALL_STATES, call_states
from understudy_store.commands import CallSearch

#: parameters that only such a list has; any of them asks for it
NEWEST_PARAMETERS: Final = ("since", "until", "error", "slow", "counts")
ORDERS: Final = ("id", "newest")


def is_newest_first(parameters: Parameters) -> bool:
    """Return whether a list of calls is to begin with the newest, and has only root calls.

    Raises
    ------
    Problem
        It is to be in the order of ids, and has a parameter of the other order.
    """
    order = parameters.choice("order", ORDERS)
    given = [name for name in NEWEST_PARAMETERS if parameters.text(name) is not None]
    if order == "id" and given:
        raise Problem(400, f"{given[0]} needs order=newest, and order is id", parameter=given[0])
    return order == "newest" or bool(given)


def call_search(parameters: Parameters, now_ms: int) -> CallSearch:
    """Return the command that reads a page of root calls, the newest first.

    Parameters
    ----------
    now_ms
        The time from which `since` and `until` count back, in epoch milliseconds.

    Raises
    ------
    Problem
        A parameter cannot be used; `origin` is none of such a list.
    """
    if parameters.text("origin") is not None:
        raise Problem(
            400, "origin needs order=id: other lists have only origins", parameter="origin"
        )
    state, error = parameters.text("state"), parameters.text("error")
    states = call_states(() if state is None else (state,), error=error)
    if states is None:
        raise Problem(400, f"state: it must be one of {', '.join(CALL_STATES)}", parameter="state")
    return CallSearch(
        states,
        parameters.text("function"),
        parameters.text("group"),
        error,
        parameters.tags(reserved=True),
        parameters.text("prefix") or "",
        _ago(parameters, "since", now_ms),
        _ago(parameters, "until", now_ms),
        round((parameters.seconds("slow") or 0.0) * 1000),
        parameters.limit(),
        parameters.text("cursor"),
        parameters.choice("counts", ("true", "false")) == "true",
    )


def _ago(parameters: Parameters, name: str, now_ms: int) -> int | None:
    ago_s = parameters.seconds(name)
    return None if ago_s is None else now_ms - round(ago_s * 1000)
