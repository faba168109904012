"""Those who wait until a process gives up its tasks."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from understudy.client.tenures import Tenures


def test_each_waits_for_its_own_version() -> None:
    tenures, first, again, other = Tenures(), Future[None](), Future[None](), Future[None]()
    tenures.begin("a", 1, first)
    tenures.begin("a", 3, again)
    tenures.begin("b", 1, other)
    tenures.end("unknown", 9)
    tenures.end("a", 0)
    assert not first.done()
    tenures.end("a", 1)
    tenures.end("a", 1)
    assert (first.done(), again.done(), other.done()) == (True, False, False)
    tenures.end("a", 4)
    assert again.result(0) is None
    assert not other.done()


def test_the_connection_ends() -> None:
    tenures, waits, canceled = Tenures(), Future[None](), Future[None]()
    tenures.begin("a", 1, waits)
    tenures.begin("a", 1, canceled)
    canceled.cancel()
    tenures.fail_all(RuntimeError("stopped"))
    with pytest.raises(RuntimeError, match="stopped"):
        waits.result(0)
    tenures.end("a", 1)
