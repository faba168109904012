"""Plans of actions on many calls, and the counts of what came of them. Pure.

An action is named as the subcommands of ``understudy calls`` are. What it does to one call is done
once however often it is asked for, so an action that was stopped is repeated to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from understudy.views.records import without_id
from understudy_actors.errors import CommandError
from understudy_store.calls import error_matches
from understudy_store.commands import (
    PromiseCancel,
    PromiseSettle,
    Reply,
    StoreCommand,
    TaskContinue,
    TaskHalt,
    TaskRetry,
)
from understudy_store.records import (
    CANCELED,
    FAILED_STATES,
    PENDING,
    PROMISE_WORDS,
    REJECTED,
    RESOLVED,
    Value,
)

Action: TypeAlias = Literal["cancel", "retry", "continue", "halt", "resolve", "restart"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

#: What an action does, and what has been done.
VERBS: Final[dict[Action, tuple[str, str]]] = {
    "cancel": ("cancels", "canceled"),
    "retry": ("retries", "retried"),
    "continue": ("continues", "continued"),
    "halt": ("halts", "halted"),
    "resolve": ("resolves", "resolved"),
    "restart": ("restarts", "restarted"),
}
#: groups and functions that a sentence names; the others are counted together
_NAMED: Final = 8
#: reasons that are kept; further ones are counted under the last
_REASONS_MAX: Final = 20


class Target(NamedTuple):
    """A call, or a promise, that an action is about.

    Attributes
    ----------
    group, function
        Empty where they are not known, as for a promise.
    status
        Its state when it was chosen, in a word.
    note
        Why it failed, or does not go on; None if that is not known.
    """

    id: str
    group: str = ""
    function: str = ""
    status: str = ""
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an action will be done to: what matched when it was asked for, and nothing later.

    Attributes
    ----------
    noun
        "call" or "promise".
    is_whole
        False if more matched than one plan takes.
    """

    action: Action
    targets: tuple[Target, ...]
    noun: str = "call"
    is_whole: bool = True

    def by_group(self) -> dict[str, int]:
        """Return the number of targets in each group, the largest first."""
        return dict(Counter(each.group for each in self.targets if each.group).most_common())

    def by_function(self) -> dict[str, int]:
        """Return the number of targets of each function, the largest first."""
        return dict(Counter(each.function for each in self.targets if each.function).most_common())


def plan_text(plan: Plan) -> str:
    """Say what a plan will do.

    Examples
    --------
    >>> plan_text(Plan("halt", (Target("a", "shop", "pay"), Target("b", "shop", "order"))))
    'halts 2 calls in 1 group: shop 2; functions: pay 1, order 1'
    """
    count = len(plan.targets)
    text = f"{VERBS[plan.action][0]} {_counted(count, plan.noun)}"
    if plan.action == "cancel" and plan.noun == "call":
        text += ", with what they called," if count != 1 else ", with what it called,"
    if groups := plan.by_group():
        text += f" in {_counted(len(groups), 'group')}: {_listed(groups)}"
    if len(functions := plan.by_function()) > 1:
        text += f"; functions: {_listed(functions)}"
    if not plan.is_whole:
        text += "; more match than one command takes: repeat it for the others"
    return text.rstrip(",")


def _listed(counts: dict[str, int]) -> str:
    items = list(counts.items())
    named = [f"{name} {count:,}" for name, count in items[:_NAMED]]
    if rest := sum(count for _, count in items[_NAMED:]):
        named.append(f"{len(items) - _NAMED} others {rest:,}")
    return ", ".join(named)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


# What may be chosen ------------------------------------------------------------------------------


def states_for(action: Action, states: Sequence[str], error: str | None = None) -> tuple[str, ...]:
    """Return the states of the calls that an action is about.

    Parameters
    ----------
    states
        Those that were asked for, with the store's names; none: whichever suit the action.
    error
        The class of the exception that the calls are to have failed with.

    Raises
    ------
    ValueError
        The action does not suit calls in these states; the message says what does.

    Examples
    --------
    >>> states_for("cancel", ())
    ('pending',)
    """
    if action == "restart":
        if PENDING in states:
            raise ValueError(
                "calls that are pending cannot be restarted: they have not ended. Cancel them "
                "first (understudy calls cancel), or have them retried or continued"
            )
        return tuple(states) or ((REJECTED,) if error is not None else FAILED_STATES)
    ended = [PROMISE_WORDS[state] for state in states if state != PENDING]
    if ended:
        raise ValueError(
            f"calls that are {' or '.join(ended)} have ended, so there is nothing to {action}. To "
            "make them again under new ids: understudy calls restart"
        )
    return (PENDING,)


def cause_matches(cause: str | None, text: str | None, error: str | None) -> bool:
    """Return whether the cause of a task has a text, and names the class of an exception.

    Examples
    --------
    >>> cause_matches("attempt 1 of 4 failed: bank.Closed: come back", "come", "Closed")
    True
    """
    if text is not None and text not in (cause or ""):
        return False
    if error is None:
        return True
    failure = (cause or "").partition(" failed: ")[2] or cause or ""
    return error_matches(failure.partition(":")[0], error)


# What is asked, and what came of it --------------------------------------------------------------


def command_for(action: Action, id_: str, value: Value) -> StoreCommand:
    """Return the command for one target of any action but ``restart``, which takes two.

    Parameters
    ----------
    value
        What ``resolve`` settles with.
    """
    match action:
        case "cancel":
            return PromiseCancel(id_)
        case "retry":
            return TaskRetry(id_)
        case "continue":
            return TaskContinue(id_)
        case "halt":
            return TaskHalt(id_)
        case "resolve":
            return PromiseSettle(id_, RESOLVED, value)
        case "restart":
            raise AssertionError("a restart is made of the stored call: see restarts")


class Outcome(NamedTuple):
    """The result of an action for one target: done, needless, or refused for a reason."""

    kind: Literal["done", "already", "refused"]
    reason: str = ""


DONE: Final = Outcome("done")


def outcome_of(action: Action, answer: Reply | CommandError, value: Value) -> Outcome:
    """Return what an answer of the broker means for the target."""
    if isinstance(answer, CommandError):
        return refusal(answer)
    record = answer.promise
    if record is None or action not in ("cancel", "resolve"):
        return DONE
    wanted = CANCELED if action == "cancel" else RESOLVED
    if record.state == wanted and (action == "cancel" or record.value.data == value.data):
        return DONE
    how = PROMISE_WORDS[record.state]
    other = " with another value" if record.state == wanted else ""
    return Outcome("already", f"was {how} meanwhile{other}")


def refusal(error: CommandError) -> Outcome:
    """Return what a refusal means for the target: nothing where it has gone on, or is gone."""
    if error.status in (404, 409):
        return Outcome("already", error.error)
    return Outcome("refused", error.error)


@dataclass(slots=True)
class Tally:
    """Counts of what came of an action so far.

    Attributes
    ----------
    planned
        The number of targets.
    already
        Those that needed nothing any more: settled, gone on or removed since they were chosen.
    reasons
        Why targets needed nothing, or were refused, with their numbers; an id is shown as ``…``.
    """

    planned: int
    done: int = 0
    already: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        """The number of targets that were dealt with."""
        return self.done + self.already + self.refused

    @property
    def is_complete(self) -> bool:
        """True if every target was dealt with."""
        return self.looked_at >= self.planned

    def add(self, target: Target, outcome: Outcome) -> None:
        """Count the outcome for one target."""
        match outcome.kind:
            case "done":
                self.done += 1
                return
            case "already":
                self.already += 1
            case "refused":
                self.refused += 1
        reason = without_id(outcome.reason, target.id)
        if reason not in self.reasons and len(self.reasons) >= _REASONS_MAX:
            reason = "other reasons"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def tally_text(plan: Plan, tally: Tally) -> str:
    """Say what came of a plan.

    Examples
    --------
    >>> plan = Plan("halt", (Target("a"), Target("b")))
    >>> tally_text(plan, Tally(2, done=2))
    'halted 2 of 2 calls'
    """
    done = VERBS[plan.action][1]
    text = f"{done} {tally.done:,} of {_counted(tally.planned, plan.noun)}"
    if tally.already:
        text += f"; {tally.already:,} needed it no more"
    if tally.refused:
        text += f"; {tally.refused:,} refused"
    if not tally.is_complete:
        text += f"; {tally.planned - tally.looked_at:,} left as they were"
    return text


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON data."""
    return {
        "action": plan.action,
        "matched": len(plan.targets),
        "groups": plan.by_group(),
        "functions": plan.by_function(),
        "is_whole": plan.is_whole,
    }


def tally_json(tally: Tally) -> dict[str, Any]:
    """Return what came of an action as JSON data."""
    return {
        "done": tally.done,
        "already": tally.already,
        "refused": tally.refused,
        "left": tally.planned - tally.looked_at,
        "reasons": tally.reasons,
    }
