"""Samples of the brokers' numbers: how many promises settle each second, and who answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import trio

from understudy.errors import BrokerUnavailableError, ConfigurationError
from understudy.ui.facts import BrokerFacts, Throughput
from understudy.ui.ports import AwayError, Port, RefusedError

#: asks each broker by itself; blocks
LookAtBrokers: TypeAlias = Callable[[str], Sequence[BrokerFacts]]

#: seconds between two samples
STEP_S: Final = 2.0
#: samples that are kept: four minutes
SAMPLES: Final = 120
#: seconds between two looks at each broker by itself
LOOK_S: Final = 8.0


class Sampler:
    """The latest numbers of a deployment.

    Parameters
    ----------
    url
        The address of its brokers.
    look
        Asks each of them by itself, in a thread.

    Attributes
    ----------
    brokers
        The brokers, and whether each has answered when it was asked last.
    """

    def __init__(self, port: Port, url: str, look: LookAtBrokers) -> None:
        self._port = port
        self._url = url
        self._look_at = look
        self._rates: deque[float] = deque(maxlen=SAMPLES)
        self._last: tuple[float, int] | None = None
        self.brokers: Sequence[BrokerFacts] = ()

    @property
    def throughput(self) -> Throughput:
        """The number of promises that settled in each second."""
        return Throughput(tuple(self._rates), STEP_S)

    async def run(self) -> None:
        """Take samples, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_ever)
            while True:
                await self._sample()
                await trio.sleep(STEP_S)

    async def _look_for_ever(self) -> None:
        while True:
            await self._look()
            await trio.sleep(LOOK_S)

    async def _sample(self) -> None:
        try:
            report = await self._port.groups()
        except (AwayError, RefusedError):
            self._last = None
            return
        if report is None:
            return
        settled = report.counters.get("settled", 0)
        at = trio.current_time()
        if self._last is not None and settled >= self._last[1] and at > self._last[0]:
            self._rates.append((settled - self._last[1]) / (at - self._last[0]))
        self._last = at, settled

    async def _look(self) -> None:
        """Ask each broker by itself."""
        try:
            self.brokers = await trio.to_thread.run_sync(
                self._look_at, self._url, abandon_on_cancel=True
            )
        except (BrokerUnavailableError, ConfigurationError):
            self.brokers = [each._replace(answers=False) for each in self.brokers]
