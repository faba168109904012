"""The request queue: the requests that wait, and those that a step performs.

A step performs few enough commands that the commit of their changes can begin within milliseconds.
The other requests wait, in order, for the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from understudy_broker.core.flow_control import FlowControl, SessionRequest
from understudy_broker.core.lanes import Lanes
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.protocol.messages import (
    Bye,
    PromiseCreateWatched,
    PromiseWatch,
)
from understudy_broker.protocol.placement import own_command
from understudy_store.commands import (
    Command,
    PromiseCreate,
    PromiseGet,
    StoreCommand,
    TaskFence,
)
from understudy_store.machine import Machine

#: settled promises that a step loads to answer reads; each may have megabytes
LOADS_MAX: Final = 8
#: commands that a step performs
COMMANDS_MAX: Final = 512


class RequestQueue:
    """Requests and goodbyes in the order in which they came.

    A goodbye waits in the queue, because what a peer asked for before it left is still performed.

    Parameters
    ----------
    lanes
        Steps draw from these; None: from all requests in the order in which they came.

    Attributes
    ----------
    waiting
        For a later step; the receiver appends to it.
    selected
        For the step that is under way; `BrokerCore` performs and clears it.
    """

    def __init__(
        self, machine: Machine, flow: FlowControl, own: OwnSlots, lanes: Lanes | None
    ) -> None:
        self._lanes = lanes
        self._machine = machine
        self._own = own
        self._flow = flow
        self.waiting: list[SessionRequest] = []
        self.selected: list[SessionRequest] = []

    @property
    def count(self) -> int:
        """Number of requests that wait for a later step."""
        return len(self.waiting) + (len(self._lanes) if self._lanes is not None else 0)

    def put_back(self, requests: list[SessionRequest]) -> None:
        """Put deferred requests before what their peers have asked for since."""
        self.waiting[:0] = requests

    def select(self, now: int) -> set[str]:
        """Select the requests of a step.

        Returns
        -------
        The ids whose rows must be loaded before `selected` is performed, and before a sweep.
        """
        queue = self.waiting
        if self._lanes is not None:
            self._lanes.add(queue)
            self.waiting = []
            queue = self._lanes.draw(COMMANDS_MAX)
        if self._flow.budget.deferred:
            queue = self._flow.defer(queue)
        if not queue:
            self.waiting = queue
            return self._machine.due_lookups(now)
        commands: list[StoreCommand] = []
        created: set[str] = set()
        record = self._machine.view.record
        loads = count = 0
        end = len(queue)
        for place, (session, request) in enumerate(queue):
            if isinstance(request, Bye):
                continue
            command = own_command(request.command)
            if self._own.map is not None and self._own.refuses(session, command):
                # It will be refused. What is stored about it is another broker's.
                continue
            if isinstance(command, PromiseCreateWatched):
                command = command.create
            count += len(command.commands) if type(command) is TaskFence else 1
            if count > COMMANDS_MAX and place:
                end = place
                break
            if type(command) is PromiseCreate:
                created.add(command.id)
                commands.append(command)
                continue
            ids: Sequence[str] | None = None
            if type(command) is PromiseGet:
                ids = (command.id,)
            elif type(command) is PromiseWatch:
                ids = command.ids
            if ids is not None:
                loads += sum(record(id_) is None and id_ not in created for id_ in ids)
                if loads > LOADS_MAX and place:
                    end = place
                    break
            if type(command) is PromiseWatch:
                commands.extend(map(PromiseGet, command.ids))
            elif isinstance(command, Command):
                commands.append(command)
        self.selected = queue[:end]
        if self._lanes is None:
            self.waiting = queue[end:]
        else:
            self._lanes.put_back(queue[end:], self.selected)
        ids_named = self._machine.lookups(commands) if commands else set()
        return ids_named | self._machine.due_lookups(now)
