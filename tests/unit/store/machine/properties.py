"""The properties of the semantics, one function each: p01 to p30.

A property of states (S) takes a `View`, one of steps (T) the views before and after and the `Step`
between them; where the contract has both under one number, the second is ``pNN_step``. They are in
`properties_of_states`, `properties_of_steps` and `properties_of_the_record`. `check_state` and
`check_step` call them all, and name the first that does not hold. Any driver may use them: unit
tests, hypothesis, a simulator.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.unit.store.machine import (
    properties_of_states,
    properties_of_steps,
    properties_of_the_record,
)
from tests.unit.store.machine.memory import check_memory
from tests.unit.store.machine.views import Step, View, view
from understudy_store.machine import Machine
from understudy_store.records import Row


def check_state(machine: Machine, history: Mapping[str, Row] | None = None) -> View:
    """Check every property of states; returns the view."""
    seen = view(machine, history)
    for check in properties_of_states.ALL:
        check(seen)
    check_memory(machine.state)
    return seen


def check_step(before: View, after: View, step: Step) -> None:
    """Check every property of steps."""
    for check in (*properties_of_steps.ALL, *properties_of_the_record.ALL):
        check(before, after, step)
