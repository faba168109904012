"""Progress for event streams: looked at while somebody follows a call, ever more seldom if nothing
is said.

A broker keeps progress in memory, and tells nobody of it unasked. So it is asked, once in a second
while functions speak. While none does, each pause is twice as long as the one before, up to
`PAUSE_MAX_S`, after which a function that begins to speak is heard at the latest. Brokers of a
release before progress are not asked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import trio

from understudy.edge.brokers import Brokers
from understudy.errors import UnderstudyError
from understudy.views.progress import progress_json
from understudy_store.commands import TaskGet
from understudy_store.progress import ProgressRecord

PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 8.0
#: tasks of one graph that are looked at
TASKS_MAX: Final = 64


def progress_data(progress: ProgressRecord) -> dict[str, Any]:
    """Return the data of an event that tells a progress."""
    return {"id": progress.id, **(progress_json(progress) or {})}


class ProgressNews:
    """The progress that a stream has to tell, the latest of each function.

    Attributes
    ----------
    come
        Set while there is something to take, or nothing more will come.
    """

    def __init__(self) -> None:
        self.come = trio.Event()
        self._found: dict[str, ProgressRecord] = {}

    def hear(self, progress: ProgressRecord) -> None:
        """Note a progress."""
        self._found[progress.id] = progress
        self.come.set()

    async def end_with(self, event: trio.Event) -> None:
        """Wake the stream at an event, after which nothing more is to be told."""
        await event.wait()
        self.come.set()

    def take(self) -> list[ProgressRecord]:
        """Return what is to be told."""
        found, self._found, self.come = self._found, {}, trio.Event()
        return list(found.values())


async def follow_progress(
    brokers: Brokers,
    running: Callable[[], Collection[str]],
    tell: Callable[[ProgressRecord], None],
) -> None:
    """Tell the progress of tasks, and of steps inside them, until it is canceled.

    Parameters
    ----------
    running
        Returns the ids of the tasks that may run now.
    tell
        Called with each progress that is new.
    """
    told: dict[str, ProgressRecord] = {}
    pause_s = PAUSE_S
    while True:
        found: dict[str, ProgressRecord] = {}
        ids = list(running())[:TASKS_MAX] if brokers.takes_progress else []
        try:
            for reply in await brokers.ask_all([TaskGet(id_) for id_ in ids]) if ids else ():
                found.update((each.id, each) for each in reply.progress or ())
        except UnderstudyError:
            found = told  # no broker answers now: whoever waits for the result finds out as well
        news = [each for id_, each in found.items() if told.get(id_) != each]
        told = found
        for each in sorted(news, key=lambda progress: progress.at):
            tell(each)
        pause_s = PAUSE_S if news else min(2 * pause_s, PAUSE_MAX_S)
        await trio.sleep(pause_s)
