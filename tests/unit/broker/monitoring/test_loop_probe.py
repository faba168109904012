"""A loop is asked from another thread, and does not answer while it is blocked."""

from __future__ import annotations

import threading

import pytest
import trio

from understudy_broker.monitoring.loop_probe import LoopBlockedError, LoopProbe
from understudy_broker.transport.loop_lock import LoopThread


async def test_a_loop_answers_and_its_errors_are_the_askers() -> None:
    loop = LoopThread()
    assert await trio.to_thread.run_sync(LoopProbe(threading.get_ident, 10, loop)) == loop.ident
    with pytest.raises(ZeroDivisionError):
        await trio.to_thread.run_sync(LoopProbe(lambda: 1 // 0, 10, loop))


async def test_a_blocked_loop_is_told_of_with_its_line() -> None:
    probe, found, over = LoopProbe(lambda: None, 0.01, LoopThread()), [], threading.Event()

    def ask() -> None:
        try:
            probe()
        except LoopBlockedError as error:
            found.append(str(error))
        over.set()

    threading.Thread(target=ask).start()
    assert over.wait(10)
    assert "its loop has not turned for 0.01 s; it is at " in found[0]
