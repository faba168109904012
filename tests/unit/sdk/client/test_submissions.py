"""Submissions: work that threads bring to the loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from understudy.client.duplicate_calls import DuplicateCalls
from understudy.client.requests import PendingRequests
from understudy.client.submissions import SubmissionQueue
from understudy.values import Codec
from understudy_broker.errors import LinkFullError
from understudy_broker.link.router import Router
from understudy_broker.transport.loop_lock import LoopThread


class Rig:
    """A queue whose loop runs when a test says so; its log shows what happened in which order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.soon: list[Callable[[], None]] = []
        self.requests = PendingRequests(DuplicateCalls(Codec(), pytest.fail))
        self.queue = SubmissionQueue(self.requests)
        self.queue.open(cast(Router, self), cast(LoopThread, self))

    def cork(self) -> None:
        self.log.append("cork")

    def uncork(self) -> None:
        self.log.append("uncork")

    def run_soon(self, function: Callable[[], None]) -> None:
        self.soon.append(function)

    def run_loop(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def submit(self, name: str, *futures: Future[Any]) -> None:
        self.queue.submit(self.log.append, (name,), futures)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_work_that_gathers_is_done_at_once_after_one_wake_up(rig: Rig) -> None:
    rig.submit("a")
    rig.submit("b")
    assert (rig.log, len(rig.soon)) == ([], 1)
    rig.run_loop()
    assert rig.log == ["cork", "a", "b", "uncork"]
    rig.submit("c")
    assert len(rig.soon) == 1, "the next submission wakes the loop again"


def test_futures_are_unanswered_before_the_work_is_done(rig: Rig) -> None:
    future: Future[None] = Future()

    def check() -> None:
        assert future in rig.requests.unanswered
        rig.log.append("checked")

    rig.queue.submit(check, (), (future,))
    rig.run_loop()
    assert "checked" in rig.log


def test_a_link_that_refuses_a_request_fails_its_futures_alone(rig: Rig) -> None:
    def refuse() -> None:
        raise LinkFullError("too many requests are unanswered")

    refused: Future[None] = Future()
    other: Future[None] = Future()
    rig.queue.submit(refuse, (), (refused,))
    rig.submit("b", other)
    rig.run_loop()
    assert rig.log == ["cork", "b", "uncork"]
    assert isinstance(refused.exception(0), LinkFullError)
    assert rig.requests.unanswered.keys() == {other}


def test_at_the_end_submissions_fail(rig: Rig) -> None:
    futures: list[Future[None]] = [Future(), Future()]
    rig.submit("a", *futures)
    rig.queue.fail_all(RuntimeError("stopped"))
    assert [str(future.exception(0)) for future in futures] == ["stopped"] * 2
    rig.run_loop()
    assert "a" not in rig.log
